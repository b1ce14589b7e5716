"""The store gives back what was written, survives a kill anywhere, and never serves a damaged byte."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from legible import fileio
from legible.data.format import StoreHeader
from legible.data.store import Store
from legible.data.writer import NewRow, StoreWriter
from legible.documents import Document
from legible.errors import StoreError, UsageError
from legible.vectors import variance

D, LAYERS = 8, (1, 3)


def header(**changes: object) -> StoreHeader:
    return StoreHeader(**({"layers": LAYERS, "d_model": D, "dtype": "float32", "origin": {"target": "t"}} | changes))


def shard(number: int, rows: int = 6) -> tuple[list[Document], list[NewRow], dict[int, torch.Tensor]]:
    rng = torch.Generator().manual_seed(number)
    documents = [Document(f"doc-{number}-{i}", f"A täxt, no {i}.\nIt ends here.") for i in range(2)]
    new = [NewRow(i % 2, 50 + i, 10 + i, 2, 7 * number + i, i - 1) for i in range(rows)]
    return documents, new, {layer: torch.randn(rows, D, generator=rng) for layer in LAYERS}


def write(path: Path, shards: int = 3, **changes: object) -> Store:
    """Write, or go on writing, a store of so many shards."""
    writer = StoreWriter(path, header(**changes))
    for number in range(len(writer.manifest.shards), shards):
        writer.append(*shard(number), state={"next": number + 1})
    return writer.finish({"documents": 2 * shards})


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_vectors_come_back_in_the_order_asked_for(tmp_path, dtype):
    store = write(tmp_path, dtype=dtype)
    written = torch.cat([shard(number)[2][3] for number in range(3)])
    rows = [17, 0, 5, 6, 0, 11]
    expected = written[rows].to(getattr(torch, dtype)).float()
    for form in (rows, np.array(rows), torch.tensor(rows)):
        assert torch.equal(store.vectors(form, 3), expected)
    assert store.vectors(range(18), 3).shape == (18, D)
    assert store.vectors([], 3).shape == (0, D)


def test_rows_and_their_documents_come_back(tmp_path):
    store = write(tmp_path)
    assert len(store) == 18
    row = store.row(13)  # the second row of the third shard
    assert (row.document.doc_id, row.pos, row.token_id, row.prev_token_id) == ("doc-2-1", 51, 15, 0)
    assert row.prefix == row.document.text[:11]
    assert row.surprise is None
    assert store.doc_ids[13] == "doc-2-1"
    assert store.token_ids[13] == 15
    assert list(store.documents()) == [f"doc-{n}-{i}" for n in range(3) for i in range(2)]
    assert store.documents()["doc-1-0"].text.endswith("no 0.\nIt ends here.")
    assert [r.pos for r in store.rows([13, 0])] == [51, 50]


def test_variance_is_that_of_the_stored_vectors(tmp_path):
    store = write(tmp_path, dtype="float16")
    found = store.variance(1)
    assert found["value"] == pytest.approx(variance(store.vectors(range(18), 1)), abs=1e-6)
    assert (found["n"], found["documents"]) == (18, 6)


def test_predictions_come_back_as_text(tmp_path):
    writer = StoreWriter(tmp_path, header(predictions=2))
    documents, rows, vectors = shard(0)
    rows = [NewRow(r.document, r.pos, r.char_end, 2, 0, 1, predictions=(1, 2), surprise=0.5) for r in rows]
    writer.write_token_texts(["a", " the", " ü"])
    writer.append(documents, rows, vectors)
    row = writer.finish().row(0)
    assert row.predictions == (" the", " ü")
    assert row.surprise == 0.5


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1, max_size=5))
def test_any_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("store")
    documents = [Document(f"d{i}\n{text[:3]}", text) for i, text in enumerate(texts)]
    rows = [NewRow(i, 0, len(text), 0, 0, -1) for i, text in enumerate(texts) for _ in range(2)]
    writer = StoreWriter(path, header())
    writer.append(documents, rows, {layer: torch.ones(len(rows), D) for layer in LAYERS})
    store = writer.finish()
    assert [store.row(2 * i).document for i in range(len(texts))] == documents
    assert dict(store.documents()) == {document.doc_id: document for document in documents}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code catches it."""


@pytest.mark.parametrize("point", ["shard", "rename"])
def test_a_kill_anywhere_resumes_to_the_same_bytes(tmp_path, monkeypatch, point):
    write(tmp_path / "unbroken")

    def die(pid: int, signal: int) -> None:
        raise Killed

    monkeypatch.setattr(os, "kill", die)
    passages = 0
    while True:
        passages += 1
        broken = tmp_path / f"{point}-{passages}"
        monkeypatch.setattr(fileio, "_passed", {})
        monkeypatch.setenv("LEGIBLE_FAULT", f"{point}:{passages}")
        try:
            write(broken)
        except Killed:
            monkeypatch.delenv("LEGIBLE_FAULT")
            write(broken)
            assert contents(broken) == contents(tmp_path / "unbroken")
        else:
            break
    assert passages > 12  # four files a shard


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
@pytest.mark.parametrize("name", ["00001.layer3.bin", "00001.rows.bin", "00001.documents.jsonl"])
def test_a_damaged_file_is_named(tmp_path, name, damage):
    write(tmp_path)
    file = tmp_path / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if damage == "flip" else data[:-1])
    if damage == "remove":
        file.unlink()
    expected = {"truncate": "bytes, expected", "flip": "does not match its checksum", "remove": "is missing"}[damage]
    with pytest.raises(StoreError, match=rf"{name} .*{expected}"):
        Store.open(tmp_path, verify=damage == "flip")
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=name):  # and nothing goes on over it
        StoreWriter(tmp_path, header())
    assert contents(tmp_path) == before


def test_a_flipped_byte_is_never_served(tmp_path):
    write(tmp_path)
    for name in ("00001.layer3.bin", "00001.documents.jsonl", "00001.rows.bin"):
        data = bytearray((tmp_path / name).read_bytes())
        data[5] ^= 1
        (tmp_path / name).write_bytes(data)
    store = Store.open(tmp_path)  # sizes fit
    assert store.vectors([0, 17], 3).shape == (2, D)  # the other shards are whole
    with pytest.raises(StoreError, match=r"00001\.layer3\.bin does not match its checksum"):
        store.vectors([0, 7], 3)
    with pytest.raises(StoreError, match=r"00001\.rows\.bin does not match its checksum"):
        store.row(0)


def test_a_flipped_byte_anywhere_in_the_manifest_is_noticed(tmp_path):
    write(tmp_path, shards=1)
    file = tmp_path / "manifest.json"
    data = file.read_bytes()
    for i in range(0, len(data), 7):
        if not data[i : i + 1].strip():  # white space between the values
            continue
        flipped = bytearray(data)
        flipped[i] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(StoreError, match=r"manifest\.json"):
            Store.open(tmp_path)


def test_a_full_disk_keeps_the_finished_shards(tmp_path):
    writer = StoreWriter(tmp_path, header())
    writer.append(*shard(0))
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))  # the kernel refuses to write past this size
    try:
        with pytest.raises(StoreError, match=r"could not write .*00001.*\n.*full disk"):
            writer.append(*shard(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {name: contents(tmp_path)[name] for name in before} == before
    assert not list(tmp_path.glob("*.tmp"))
    assert len(write(tmp_path)) == 18


def test_a_disk_that_fills_at_the_flush_is_told_by_name(tmp_path, monkeypatch):
    writer = StoreWriter(tmp_path, header())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        writer.append(*shard(0))
    assert [path.name for path in tmp_path.iterdir()] == ["identity.json"]


@pytest.mark.parametrize(("key", "value"), [("dtype", "float16"), ("layers", (1,)), ("origin", {"target": "other"})])
def test_a_store_of_another_capture_is_not_continued(tmp_path, key, value):
    write(tmp_path)
    name = r"origin\.target" if key == "origin" else key
    with pytest.raises(UsageError, match=rf"differs in {name} \(.* there, .* now\)"):
        StoreWriter(tmp_path, header(**{key: value}))


def test_values_that_the_dtype_cannot_hold_are_refused(tmp_path):
    writer = StoreWriter(tmp_path, header(dtype="float16"))
    documents, rows, vectors = shard(0)
    with pytest.raises(StoreError, match=r"layer 3 holds values that float16 cannot \(largest 1e\+06\)"):
        writer.append(documents, rows, vectors | {3: torch.full((6, D), 1e6)})
    with pytest.raises(StoreError, match="largest nan"):
        writer.append(documents, rows, vectors | {1: torch.full((6, D), float("nan"))})


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StoreError, match=r"is not a store: it has no manifest\.json"):
        Store.open(tmp_path)
    writer = StoreWriter(tmp_path, header())
    with pytest.raises(UsageError, match=r"would hold 0 row\(s\)"):
        writer.finish()
    writer.append(*shard(0))
    with pytest.raises(StoreError, match="is unfinished"):
        Store.open(tmp_path)
    store = writer.finish()
    with pytest.raises(UsageError, match=r"holds layers \[1, 3\], not 2"):
        store.vectors([0], 2)
    for bad in (-1, 6):
        with pytest.raises(IndexError, match="of a store with 6 rows"):
            store.vectors([0, bad], 1)
        with pytest.raises(IndexError, match="of a store with 6 rows"):
            store.row(bad)
