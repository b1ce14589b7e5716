"""What a corpus, a text and a file of JSON lines may look like, and what is refused by name."""

import gzip
import json
from pathlib import Path

import pytest

from legible.config import RunConfig, load_config
from legible.config.run import save_config
from legible.documents import Document, read_corpus, split_of
from legible.errors import UsageError
from legible.fileio import decoded, json_line, whole_chunks

TEXTS = ["The old man put the boat on the water.", "Mira was a fox.\u2028She sang."]
ROWS = [{"text": text} for text in TEXTS]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def written(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def texts(path: Path) -> list[str]:
    return [document.text for document in read_corpus(path)]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("a.jl", LINES),
        ("a.JSONL", "\n" + LINES.replace("\n", "\r\n")),
        ("a.json", LINES),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("a.jsonl", json.dumps(ROWS)),
        ("a", LINES),
        ("a", json.dumps(ROWS)),
        ("a.txt", "\n".join(TEXTS) + "\n"),
        ("a", "\n".join(TEXTS)),
    ],
)
def test_a_corpus_is_read_as_what_it_is(tmp_path, name, data, packed, bom):
    data = (bom + data).encode()
    path = written(tmp_path / (name + ".gz" * packed), gzip.compress(data, mtime=0) if packed else data)
    assert texts(path) == TEXTS


@pytest.mark.parametrize("text", ["[1] a note\n[2] another", "{curly} words", "[]", "{", "[" * 100_000])
def test_text_that_only_begins_like_json_stays_text(tmp_path, text):
    assert texts(written(tmp_path / "notes", text)) == text.split("\n")
    assert texts(written(tmp_path / "notes.txt", '{"text": "a"}')) == ['{"text": "a"}']


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"text": None}, "an object whose `text` is null"),
        ({"text": ["first turn", "second turn"]}, "an object whose `text` is a list"),
        ({"text": {"role": "user", "content": "hello"}}, "an object whose `text` is an object"),
        ({"text": 42}, "an object whose `text` is a number"),
        ({"text": True}, "an object whose `text` is true or false"),
        ({"texts": "a"}, "without a `text` field"),
        ({"text": "a", "doc_id": ["b"]}, "an object whose `doc_id` is a list"),
        ("a", "a text"),
        (None, "null"),
    ],
)
@pytest.mark.parametrize(("name", "where"), [("c.jsonl", "line 2"), ("c.json", "item 2")])
def test_what_is_no_text_is_named_by_its_line_and_kind(tmp_path, value, kind, name, where):
    rows = [ROWS[0], value]
    data = json.dumps(rows) if name == "c.json" else "\n".join(map(json.dumps, rows))
    with pytest.raises(UsageError, match=f'{name} {where} is {kind}, expected an object with a text: {{"text"'):
        texts(written(tmp_path / name, data))


@pytest.mark.parametrize(("name", "data"), [("c.jsonl", LINES + "{"), ("c.json", '[{"text": "a"},\n{\n')])
def test_a_broken_value_is_named_by_its_line(tmp_path, name, data):
    with pytest.raises(UsageError, match=f"{name} line 3 is not JSON"):
        texts(written(tmp_path / name, data))


@pytest.mark.parametrize("absent", [None, "", "  ", float("nan")])
def test_ids_that_name_nothing_are_given_by_line(tmp_path, absent):
    rows = [{"doc_id": absent, "text": f"Day {i}."} for i in range(40)]
    found = list(read_corpus(written(tmp_path / "days.jsonl", "\n".join(map(json.dumps, rows)))))
    assert [document.doc_id for document in found] == [f"days-{i:07d}" for i in range(40)]
    assert {split_of(document.doc_id) for document in found} == {"train", "dev", "calibrate", "test"}


def test_half_a_character_is_replaced_and_marked(tmp_path):
    rows = [
        {"doc_id": "d\ud83d", "text": "a"},
        {"doc_id": 7, "text": "b \ud83d c"},
        {"doc_id": "e", "text": "\U0001f600"},
    ]
    found = list(read_corpus(written(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)))))
    assert found == [Document("d\ufffd", "a"), Document("7", "b \ufffd c"), Document("e", "\U0001f600")]
    assert [document.repaired for document in found] == [True, True, False]


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (gzip.compress(LINES.encode(), mtime=0), "gzip"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04", "a zip archive"),
        ("Überall".encode("utf-16"), "UTF-16 text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer"),
    ],
)
def test_another_kind_of_file_under_a_texts_name_is_named(tmp_path, start, what):
    for name in ("c.jsonl", "c.txt", "c"):
        path = written(tmp_path / name, start)
        with pytest.raises(UsageError, match=f"{name} is not UTF-8 text: it is {what}"):
            texts(path)
        with pytest.raises(UsageError, match=f"{name} is not UTF-8 text: it is {what}"):
            decoded(start, path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("c.csv", "text\na\n", "is a table, expected JSON lines"),
        ("c.jsonl.gz", LINES, "is not a complete gzip file"),
        ("c.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], "is not a complete gzip file"),
        ("c.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:10] + b"\xff" * 99, "is not a complete gzip file"),
        ("c.json", "[]", "holds no text"),
        ("c.txt", "Überall".encode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_corpus_is_refused(tmp_path, name, data, message):
    with pytest.raises(UsageError, match=message):
        texts(written(tmp_path / name, data))


def test_a_byte_order_mark_is_no_part_of_a_text_or_configuration(tmp_path):
    assert decoded("\ufeffPavel is a fox.".encode(), "a text") == "Pavel is a fox."
    save_config(RunConfig(seed=3), tmp_path / "config.json")
    marked = written(tmp_path / "marked.json", b"\xef\xbb\xbf" + (tmp_path / "config.json").read_bytes())
    assert load_config(marked) == load_config(tmp_path / "config.json")


def test_unfinished_work_is_counted_in_lines_that_may_hold_separators(tmp_path):
    line = json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False) + "\n"
    path = written(tmp_path / "candidates.jsonl", line * 3 + line[:5])
    assert whole_chunks(path, 2, 3) == 3
    assert path.read_text(encoding="utf-8") == line * 3


def test_a_line_of_json_is_one_line_for_every_reader():
    value = {"a": "b\u2028c\u2029d\x85e\x0bf\nü"}
    line = json_line(value)
    assert line.splitlines() == [line]
    assert "ü" in line
    assert json.loads(line) == value
