"""Corpora read into archives: killed and resumed, cached, searched, counted and compared."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from stores import claim, reading, write_store

from legible.archive import Archive, writing
from legible.archive.choosing import Positions
from legible.archive.diffing import diff
from legible.archive.writing import fill
from legible.config import CaptureConfig
from legible.engines.local import LocalEngine
from legible.errors import UsageError
from legible.languages.world import story_document
from legible.reading.reader import load

TEXTS = [story_document("test", 5, index).text[:90] for index in range(3)]
CORPUS = [
    *({"doc_id": f"doc-{index}", "text": text} for index, text in enumerate(TEXTS)),
    {"doc_id": "again", "text": TEXTS[0]},
    {"doc_id": "longer", "text": TEXTS[1] + " And then it rained."},
]
TABLES = ("checkpoints", "runs", "documents", "visits", "answers", "readings", "claims", "found_claims")
HOSTILE = "'); DROP TABLE claims; --\x00 <script>alert(1)</script> \u202e\x1b[31m"


@pytest.fixture(scope="module")
def reader():
    found = load("builtin")
    assert len(found.checkpoint.uninformed) > 0  # written once for a checkpoint: not counted by `asked`
    return found


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(writing, "ROWS", 4)


@pytest.fixture
def asked(monkeypatch):
    """How many activations the verbalizer is asked about, call by call."""
    calls: list[int] = []
    real = LocalEngine.generate

    def counting(self, vectors, *keys, **how):
        calls.append(len(vectors))
        return real(self, vectors, *keys, **how)

    monkeypatch.setattr(LocalEngine, "generate", counting)
    return calls


def corpus_file(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() if table[:5] != "found"
                else connection.execute(f"SELECT rowid, * FROM {table}").fetchall() for table in TABLES}  # fmt: skip


@pytest.mark.parametrize("fault", ["answers:2", pytest.param("readings:1", marks=pytest.mark.slow)])
def test_a_killed_corpus_run_resumes_to_an_unbroken_one(fault, reader, small_batches, asked, tmp_path):
    corpus = corpus_file(tmp_path, CORPUS[:3])
    whole = fill(reader, corpus, tmp_path / "whole.db", Positions("2,6,9"))
    assert sum(asked) == whole.written == 9
    script = (
        "import sys; from legible.archive import writing; writing.ROWS = 4\n"
        "from legible.cli.main import main; main(sys.argv[1:])"
    )
    command = [
        "read",
        "builtin",
        "--corpus",
        str(corpus),
        "--archive",
        str(tmp_path / "cut.db"),
        "--positions",
        "2,6,9",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LEGIBLE_FAULT": fault}
    killed = subprocess.run([sys.executable, "-c", script, *command], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    kept = len(contents(tmp_path / "cut.db")["answers"])
    assert kept == 6
    asked.clear()
    resumed = fill(reader, corpus, tmp_path / "cut.db", Positions("2,6,9"))
    assert sum(asked) == resumed.written == 9 - kept
    assert contents(tmp_path / "cut.db") == contents(tmp_path / "whole.db")


def test_an_activation_is_explained_once_across_documents(reader, asked, tmp_path):
    corpus = corpus_file(tmp_path, CORPUS)
    first = fill(reader, corpus, tmp_path / "out.db", Positions("3,7"))
    assert (first.documents, first.readings, first.written, first.from_cache) == (5, 10, 6, 4)
    assert sum(asked) == 6
    asked.clear()
    again = fill(reader, corpus, tmp_path / "out.db", Positions("3,7"))
    assert (again.finished_before, again.written, asked) == (5, 0, [])
    with Archive(tmp_path / "out.db") as store:
        texts = {
            document.doc_id: [one.explanation for one in found] for document, found, _ in store.documents(store.run())
        }
    assert texts["again"] == texts["doc-0"]
    assert texts["longer"] == texts["doc-1"]


def test_readings_in_the_store_are_those_of_the_reader(reader, tmp_path):
    corpus = corpus_file(tmp_path, CORPUS[:1])
    fill(reader, corpus, tmp_path / "out.db", Positions("8"))
    fill(reader, corpus, tmp_path / "out.db", Positions("7:10"))
    with Archive(tmp_path / "out.db") as store:
        [(document, found, _)] = store.documents(store.run())
    assert document.text == TEXTS[0]
    direct = reader.read(TEXTS[0], positions="7:10")
    for mine, theirs in zip(found, direct, strict=True):
        assert mine.explanation == theirs.explanation
        assert mine.direction_mse == pytest.approx(theirs.direction_mse, abs=1e-5)
        assert [c.value for c in mine.claims] == [c.value for c in theirs.claims]
        assert [c.recurrence for c in mine.claims] == [c.recurrence for c in theirs.claims]
        assert [c.p_true for c in mine.claims] == pytest.approx([c.p_true for c in theirs.claims], abs=1e-3)


def test_samples_have_answers_of_their_own(reader, tmp_path):
    corpus = corpus_file(tmp_path, CORPUS[:1])
    fill(reader, corpus, tmp_path / "out.db", Positions("8"))
    assert fill(reader, corpus, tmp_path / "out.db", Positions("8"), samples=2, seed=1).written == 1
    with Archive(tmp_path / "out.db") as store:
        assert [run.samples for run in store.runs] == [1, 2]
        [(_, [two], _)] = store.documents(store.run("2"))
        assert len(two.samples) == 2
        with pytest.raises(UsageError, match="holds 2 runs, expected one"):
            store.run()


def test_what_cannot_be_read_is_counted(reader, tmp_path):
    texts = ["Our hero.", TEXTS[0] * 20, "Pavel \ud800 kept a hammer in the barn."]
    corpus = corpus_file(tmp_path, [{"doc_id": f"world-{HOSTILE}{n}", "text": text} for n, text in enumerate(texts)])
    found = fill(reader, corpus, tmp_path / "out.db", Positions("6"))
    assert (found.without_positions, found.truncated, found.repaired, found.readings) == (1, 1, 1, 2)
    with Archive(tmp_path / "out.db") as store:
        assert {document.doc_id for document, *_ in store.documents(store.run())} == {
            f"world-{HOSTILE}{n}" for n in (1, 2)
        }


def test_positions_of_each_document_follow_their_seed(reader, tmp_path):
    corpus = corpus_file(tmp_path, [{"doc_id": "long", "text": story_document("test", 6, 1).text}])
    fill(reader, corpus, tmp_path / "out.db", Positions(per_document=3, seed=4))
    with Archive(tmp_path / "out.db") as store:
        [(_, found, _)] = store.documents(store.run())
    config = CaptureConfig.from_positions(reader.checkpoint.contract.legible.variance.positions)
    assert len(found) == 3
    assert min(one.pos for one in found) >= config.min_pos


@pytest.fixture
def store(tmp_path) -> Path:
    sure, unsure = claim("holds", "hammer", 0.9), claim("holds", "knife", 0.4)
    unknown = claim("plan", None, None, text="unknown plan")
    return write_store(tmp_path / "a.db", "first", {
        ("one", "Pavel kept a hammer."): [
            reading(1, "kept", [sure, claim("want", "coin", 0.7)]),
            reading(3, "hammer", [sure, unknown]),
        ],
        ("two", "Dora kept a knife."): [reading(1, "kept", [unsure, claim("want", "coin", 0.95)]), reading(2, "a", [])],
        (HOSTILE, f"x {HOSTILE} y"): [reading(0, HOSTILE, [claim(None, None, None, text=HOSTILE)])],
    })  # fmt: skip


def test_search_finds_words_claims_and_their_place(store, legible):
    with Archive(store) as opened:
        hits = opened.search("hammer")
        assert [(hit.doc_id, hit.pos) for hit in hits] == [("one", 1), ("one", 3)]
        assert (hits[0].before, hits[0].token, hits[0].after) == ("Pavel ", "kept", " a hammer.")
        assert [hits[0].text[slice(*span)] for span in hits[0].spans] == ["hammer"]
        assert [hit.value for hit in opened.claims("holds NOT knife")] == ["hammer", "hammer"]
        assert [hit.value for hit in opened.claims("ham* OR kni*", min_trust=0.5)] == ["hammer", "hammer"]
        assert {(hit.doc_id, hit.pos) for hit in opened.search(min_trust=0.8)} == {("one", 3)}
        assert {(hit.doc_id, hit.pos) for hit in opened.search("coin", relation="holds", min_trust=0.5)} == {("one", 1)}
        assert len(opened.claims(limit=2)) == 2
        assert len(opened.claims(limit=None)) == 7
    shown = legible("search", str(store), "coin", "--claim", "--min-trust", "0.8", "--json")
    assert [json.loads(line)["doc_id"] for line in shown.out.splitlines()] == ["two"]


def test_doubtful_claims_are_withheld_from_what_a_search_prints(store, legible):
    whole = legible("search", str(store), "knife").out
    assert "…. want coin." in whole
    assert "holds knife" not in whole
    single = legible("search", str(store), "knife OR coin", "--claim").out
    assert "holds knife" not in single
    for shown in (whole, single):
        assert "1 doubtful claim withheld, p_true below 0.5: --json has them" in " ".join(shown.split())
    assert "holds knife" in legible("search", str(store), "knife", "--claim", "--json").out


def test_counts_are_those_of_the_claims(store, legible):
    out = legible("search", str(store), "--claim", "--count", "--json", "--limit", "2").out
    first, second = (json.loads(line) for line in out.splitlines())
    assert first == {
        "subject": None, "relation": "holds", "value": "hammer", "polarity": "positive",
        "claims": 2, "readings": 2, "documents": 1, "p_true": 0.9,
    }  # fmt: skip
    assert (second["value"], second["documents"]) == ("coin", 2)
    assert second["p_true"] == pytest.approx(0.825)
    kinds = [json.loads(line) for line in legible("search", str(store), "--count", "--json").out.splitlines()]
    assert {row["relation"]: row["claims"] for row in kinds} == {"holds": 3, "want": 2, "plan": 1, None: 1}
    assert "hammer" in legible("search", str(store), "hammer", "--claim", "--count").out


@pytest.mark.parametrize("words", ["well-known", "a:b", '"open', "AND", "*", "x'); DROP TABLE claims; --", "\udce9 :"])
def test_words_that_are_no_query_are_refused_with_a_way_out(words, store, legible):
    outcome = legible("search", str(store), words)
    assert outcome.code == 2
    assert "is not understood as a search" in outcome.err
    [quoted] = shlex.split(outcome.err.rpartition("argument: ")[2])
    assert legible("search", str(store), quoted).code == 0


def test_hostile_strings_stay_data(store, legible):
    outcome = legible("search", str(store), "DROP")
    assert outcome.code == 0
    assert "\x1b[31m" not in outcome.out
    assert "\u202e" not in outcome.out
    with Archive(store) as opened:
        assert opened.claims("alert")[0].text == HOSTILE
        assert len(opened.claims(limit=None)) == 7


@pytest.mark.parametrize(("arguments", "message"), [
    (("search", "STORE", "--kind", "nope"), "no claim of the relation 'nope': the archive has holds, plan, want"),
    (("search", "STORE", "--min-trust", "2"), "expected a probability"),
    (("search", "STORE", "--run", "second"), "holds 0 runs of the name 'second'"),
    (("search", "absent.db", "x"), "no archive at absent.db"),
    (("diff", "STORE"), "both sides are run 1"),
    (("read", "builtin", "--corpus", "texts.jsonl"), "needs both --corpus and --archive"),
    (("read", "builtin", "--corpus", "t.jsonl", "--store", "s.db", "--trust", "0.8"), "--trust and --corpus do not go"),
    (("read", "builtin", "--corpus", "t.jsonl", "--store", "s.db", "--positions", "x"), "positions 'x' are not under"),
    (("read", "builtin", "--corpus", "t.jsonl", "--store", "s.db", "--positions-per-doc", "0"), "expected at least 1"),
    (("read", "builtin", "--corpus", "t.jsonl", "--store", "s.db", "--positions", "2", "--positions-per-doc", "2"),
     "do not go together"),
    (("read", "builtin", "--corpus", "none.jsonl", "--archive", "s.db"), "no corpus at none.jsonl"),
])  # fmt: skip
def test_bad_requests_say_what_to_do(arguments, message, store, legible, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_text('{"text": "Pavel kept a hammer in the pocket."}\n', encoding="utf-8")
    outcome = legible(*(str(store) if word == "STORE" else word for word in arguments))
    assert outcome.code == 2
    assert message in outcome.err


def test_other_files_are_no_stores(tmp_path, legible):
    (tmp_path / "text.db").write_text("hello\n" * 200, encoding="utf-8")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE t (x)")
    for name in ("text.db", "other.db"):
        before = (tmp_path / name).read_bytes()
        assert legible("search", str(tmp_path / name), "x").code == 2
        with pytest.raises(UsageError, match="not an archive"):
            writing.open_for_writing(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_a_denial_is_counted_apart_from_what_it_denies(tmp_path, legible):
    said, denied = claim("holds", "hammer", 0.9), claim("holds", "hammer", None, text="no hammer", polarity="negative")
    text = "Pavel kept a hammer."
    a = write_store(tmp_path / "a.db", "first", {("one", text): [reading(1, "kept", [said, denied], unparsed=("if",))]})
    b = write_store(tmp_path / "b.db", "second", {("one", text): [reading(1, "kept", [denied])]})
    with Archive(a) as store:
        assert [(one.polarity, one.claims) for one in store.count()] == [("negative", 1), ("positive", 1)]
        assert [(one.relation, one.claims) for one in store.count(by="relation")] == [("holds", 2)]
        assert [hit.polarity for hit in store.claims("no")] == ["negative"]
        [(_, [back], _)] = store.documents(store.run())
        assert (back.claims, back.unparsed) == ((said, denied), ("if",))
    report = diff(a, b)
    assert report["agreement"]["value"] == 0.5
    assert [(row["value"], row["polarity"]) for row in report["claims_only_a"]] == [("hammer", "positive")]
    assert "not hammer" in legible("search", str(a), "--claim", "--count").out


def test_diff_counts_what_each_side_claims_alone(tmp_path, legible):
    plan, hold, coin = claim("plan", "steal", 0.9), claim("holds", "hammer", 0.6), claim("want", "coin")
    text = "Pavel kept a hammer."
    a = write_store(tmp_path / "a.db", "first", {
        ("one", text): [reading(1, "kept", [plan, hold], 0.5), reading(3, "hammer", [hold], 0.7)],
        ("two", "Dora."): [reading(0, "Dora", [claim("plan", None)], 0.1)],
        ("mine", "x"): [reading(0, "x", [])],
    })  # fmt: skip
    other = {
        ("one", text): [reading(1, "kept", [hold, coin], 0.6), reading(3, "hammer", [hold], None)],
        ("two", "Dora."): [reading(0, "Dora", [plan], 0.5)],
    }
    b = write_store(tmp_path / "b.db", "second", other)
    report = diff(a, b)
    assert (report["tokens"], report["documents"], report["only_a"], report["only_b"]) == (3, 2, 1, 0)
    assert report["agreement"]["value"] == pytest.approx(2 / 5)  # {hold} of 3, {hold} of 1, {} of 1
    assert (report["agreement"]["low"], report["agreement"]["high"]) == (0.0, 0.5)  # document two alone, one alone
    assert report["kept"]["value"] == pytest.approx(2 / 3)
    assert report["fve_difference"]["value"] == pytest.approx((0.1 + 0.4) / 2)
    assert report["fve_difference"]["n"] == 2
    assert report["kinds"]["plan"] == {"shared": 0, "a": 1, "b": 1, "agreement": 0.0}
    assert report["kinds"]["holds"] == {"shared": 2, "a": 0, "b": 0, "agreement": 1.0}
    assert report["claims_only_a"] == [
        {
            "subject": None,
            "relation": "plan",
            "value": "steal",
            "polarity": "positive",
            "tokens": 1,
            "documents": 1,
            "p_true": 0.9,
            "at": "one:1",
        }
    ]
    assert report["differs"] == {"weights": ["weights ", "weights "]}
    assert (report["agreement"]["n"], report["kept"]["n"]) == (5, 3)
    assert [row["value"] for row in report["claims_only_b"]] == ["steal", "coin"]
    assert diff(a, b, min_trust=0.8)["agreement"]["value"] == 0.0
    write_store(a, "second", other)
    page = tmp_path / "diff.html"
    outcome = legible("diff", str(a), "--a", "first", "--b", "second", "--html", str(page), "--json")
    assert json.loads(outcome.out)["agreement"] == report["agreement"]
    assert "steal" in page.read_text(encoding="utf-8")
    lines = legible("diff", str(a), str(b), "--a", "1").out
    assert "only A" in lines
    assert "They differ in weights (A weights , B weights )." in lines
    assert "plan: steal  (first at one:1, mean p_true 0.90)" in lines
    twice = write_store(tmp_path / "c.db", "first", other)
    assert "A and B have the same weights" in legible("diff", str(a), str(twice), "--a", "1").out


def test_diff_of_stores_without_a_common_token_is_refused(store, tmp_path, legible):
    other = write_store(tmp_path / "b.db", "second", {("one", "Another text."): [reading(0, "Another", [])]})
    outcome = legible("diff", str(store), str(other))
    assert outcome.code == 2
    assert "share no token" in outcome.err
