"""Labels of a corpus file arrive at every row of a store, and a store without labels is what it was."""

import json
from pathlib import Path

import pytest
from capture_jobs import CONFIG, documents, tiny_target

from legible.data.capture import capture
from legible.documents import Document, read_corpus
from legible.errors import UsageError
from legible.labels import Label, Mark
from legible.recipes.sources import read_documents, write_documents

LABELS = {
    "topic": Label((Mark("Geography"),)),
    "place": Label((Mark("Paris", 12), Mark("Rome", 40), Mark("Paris", 60)), "tagger x", 0.125),
    "person": Label((), "tagger x"),
}


@pytest.fixture(scope="module")
def target():
    return tiny_target()


def labelled(*changed: Document) -> list[Document]:
    return [*changed, *(Document(one.doc_id, one.text, labels=LABELS) for one in documents(6)[len(changed) :])]


def test_labels_go_from_the_corpus_file_to_every_row(target, tmp_path: Path) -> None:
    write_documents(tmp_path / "corpus.jsonl", labelled())
    given = list(read_corpus(tmp_path / "corpus.jsonl"))
    assert [one.labels for one in given] == [LABELS] * 6
    store = capture(target, given, CONFIG, tmp_path / "store")
    assert [row.document.labels for row in store.rows()] == [LABELS] * len(store)
    write_documents(tmp_path / "again.jsonl", store.documents().values())
    assert all(one.labels == LABELS for one in read_documents(tmp_path / "again.jsonl"))


def test_documents_without_labels_are_written_as_before(target, tmp_path: Path) -> None:
    store = capture(target, documents(6), CONFIG, tmp_path / "store")
    lines = (store.path / "00000.documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line).keys() == {"doc_id", "text"} for line in lines)


def test_a_store_does_not_go_on_under_other_labels(target, tmp_path: Path) -> None:
    capture(target, labelled(), CONFIG, tmp_path)
    first = documents(1)[0]
    with pytest.raises(UsageError, match="holds activations of other documents"):
        capture(target, labelled(Document(first.doc_id, first.text)), CONFIG, tmp_path)


def test_a_name_holds_from_where_it_is_first_named_and_a_tense_until_the_next() -> None:
    place = LABELS["place"]
    assert [place.until(end) for end in (11, 12, 45, 70)] == [[], ["Paris"], ["Paris", "Rome"], ["Paris", "Rome"]]
    assert [place.at(end) for end in (11, 12, 45, 70)] == [None, "Paris", "Rome", "Paris"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [({"topic": "Arts"}, Label((Mark("Arts"),))), ({"topic": ["a", ["b", 4]]}, Label((Mark("a"), Mark("b", 4))))],
)
def test_a_bare_label_is_the_word_of_the_corpus(tmp_path: Path, labels: object, expected: Label) -> None:
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "Hi there.", "labels": labels}), encoding="utf-8")
    assert next(read_corpus(tmp_path / "c.jsonl")).labels == {"topic": expected}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("Arts", "labels are 'Arts', expected an object of kinds"),
        ({"topic": 3}, "label 'topic' is 3"),
        ({"topic": {"values": [["Paris", "12"]]}}, r"a value of the label 'topic' is \['Paris', '12'\]"),
        ({"topic": [""]}, "a value of the label 'topic' is ''"),
        ({"topic": {"values": [], "source": 4}}, "has source 4"),
    ],
)
def test_impossible_labels_are_named_with_their_line(tmp_path: Path, labels: object, message: str) -> None:
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "Hi there.", "labels": labels}), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"c.jsonl line 1 is an object with impossible labels \(.*{message}"):
        next(read_corpus(tmp_path / "c.jsonl"))
