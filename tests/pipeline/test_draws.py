"""What a token draws depends on the seed, its text up to it, its position and the sample's number; on nothing else."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from legible.archive.choosing import Positions
from legible.archive.searching import Archive
from legible.archive.writing import fill
from legible.documents import Document
from legible.engines.sampling import numbered, place_key, row_key
from legible.languages.base import Row
from legible.reading.reader import load
from legible.reading.rows import rows_of
from legible.serve.app import create_app
from legible.serve.settings import Settings

TEXT = "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was."
POS = 8


@pytest.fixture(scope="module")
def reader():
    return load("builtin")


@pytest.fixture(scope="module")
def drawn(reader):
    """The samples of one token, read alone."""
    return said(reader, TEXT, str(POS))


def said(reader, text, positions, **how):
    readings = reader.read(text, positions=positions, samples=3, temperature=1.5, seed=4, **how)
    return [words for words, _ in next(one for one in readings if one.pos == POS).samples]


@pytest.mark.parametrize("positions", ["all", "6,8", "8:12", "0,8,-1"])
def test_a_token_reads_the_same_whichever_positions_are_asked_for_beside_it(reader, drawn, positions):
    assert said(reader, TEXT, positions) == drawn


def test_what_comes_after_a_token_does_not_change_its_draws(reader, drawn):
    assert said(reader, TEXT.split(" Strangers")[0], "all") == drawn


def test_other_seeds_texts_and_positions_draw_otherwise(reader, drawn):
    readings = reader.read(TEXT, positions=str(POS), samples=3, temperature=1.5, seed=5)
    assert [words for words, _ in readings[0].samples] != drawn
    keys = {place_key(4, "a b", 1), place_key(4, "a b", 2), place_key(4, "a c", 1), place_key(5, "a b", 1)}
    assert len(keys) == 4


def test_an_archive_draws_what_the_reader_draws(reader, drawn, tmp_path: Path):
    corpus = tmp_path / "texts.jsonl"
    other = TEXT.replace("Pavel", "Wanda")
    corpus.write_text("".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate((other, TEXT))))
    fill(reader, corpus, tmp_path / "a.db", Positions("6:10"), samples=3, temperature=1.5, seed=4)
    with Archive(tmp_path / "a.db") as archive:
        readings = next(own for document, own, _ in archive.documents(archive.run()) if document.text == TEXT)
    found = next(one for one in readings if one.pos == POS)
    assert [words for words, _ in found.samples] == drawn


def test_the_server_draws_what_the_reader_draws(reader, drawn):
    app = create_app({"builtin": reader}, Settings(token="a-token-of-the-tests-0123456789"))
    headers = {"authorization": "Bearer a-token-of-the-tests-0123456789"}
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as client:
        body = {"text": TEXT, "positions": "7,8", "samples": 3, "temperature": 1.5, "seed": 4}
        found = client.post("/api/v1/read", json=body).json()["readings"][1]
    assert [one["explanation"] for one in found["samples"]] == drawn


def test_a_stored_row_has_the_key_of_its_text(reader):
    encoded = reader.checkpoint.target.encode(TEXT)
    rows = rows_of(Document("any", TEXT), encoded.ids, encoded.offsets)
    prepared = reader.prepare(Document("", TEXT))
    assert [row_key(4, row, 99) for row in rows] == prepared.keys([row.pos for row in rows], 4)


def test_rows_without_a_text_go_by_their_document_then_by_their_index():
    named, bare = (Row(Document(name, ""), 3, 0, 0, 5, 6) for name in ("doc", ""))
    assert row_key(1, named, 7) == row_key(1, named, 8) != row_key(1, bare, 7)
    assert [row_key(1, bare, index) for index in range(3)] == numbered(1, 3)
