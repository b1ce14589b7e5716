"""Writing a store: whole shards or none, resumable after the last whole one.

A shard's files are written and flushed first, then the manifest that names them replaces the old one. A kill in
between leaves files that no manifest names; the next run writes the same names again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legible.data.format import (
    MANIFEST,
    TOKENS,
    TORCH_DTYPES,
    FileEntry,
    Manifest,
    ShardEntry,
    StoreHeader,
    Variance,
    continuations_file,
    read_manifest,
    vector_file,
    write_manifest,
)
from legible.data.store import Store, check_files
from legible.documents import Document
from legible.errors import StoreError, UsageError
from legible.fileio import fault_point, write_atomic
from legible.identity import Identity, claim, finish
from legible.vectors import unit


def store_identity(header: StoreHeader, stage: str = "capture") -> Identity:
    """What a store depends on beside its documents, whose own digest stands in every shard's state."""
    return Identity(stage, header.model_dump(mode="json"))


@dataclass(frozen=True)
class NewRow:
    """One row to write; `document` is an index into the documents of the same shard."""

    document: int
    pos: int
    char_end: int
    recent_start: int
    token_id: int
    prev_token_id: int
    predictions: tuple[int, ...] = ()
    surprise: float = float("nan")
    top_probability: float = float("nan")
    continuations: tuple[str, ...] = ()


class StoreWriter:
    """Appends shards to a new or unfinished store.

    Raises:
        UsageError: the folder holds something else than a store begun under this header.
        StoreError: a finished shard of it is damaged; nothing is overwritten.
    """

    def __init__(self, path: Path | str, header: StoreHeader, stage: str = "capture") -> None:
        """Claim the folder; `stage` is the verb that fills it."""
        self.path = Path(path)
        self.manifest = Manifest(header=header)
        self._identity = store_identity(header, stage)
        claimed = claim(self.path, self._identity)
        if (self.path / MANIFEST).exists():
            self.manifest = read_manifest(self.path)
            check_files(self.path, self.manifest, verify=True)
            if self.manifest.complete and claimed != "finished":
                finish(self.path, self._identity)

    @property
    def state(self) -> dict[str, Any]:
        """The state saved with the last whole shard; empty before the first."""
        return self.manifest.shards[-1].state if self.manifest.shards else {}

    @property
    def rows(self) -> int:
        """Rows in whole shards so far."""
        return sum(shard.rows for shard in self.manifest.shards)

    def append(
        self,
        documents: Sequence[Document],
        rows: Sequence[NewRow],
        vectors: Mapping[int, Tensor],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one shard and commit it.

        Args:
            documents: the documents the rows point into.
            rows: one a vector.
            vectors: layer -> [rows, d_model], raw.
            state: JSON values handed back by `state` after a kill.

        Raises:
            StoreError: a value that the dtype cannot hold, or the disk is full; shards before it stay whole.
        """
        header = self.manifest.header
        name = f"{len(self.manifest.shards):05d}"
        lines = [_line(document) for document in documents]
        files: dict[str, FileEntry] = {}

        def put(file: str, data: bytes) -> None:
            files[file] = _write(self.path / file, data)

        put(f"{name}.documents.jsonl", b"".join(lines))
        put(f"{name}.rows.bin", _records(rows, lines, header).tobytes())
        if header.continuations:
            put(continuations_file(name), b"".join(_json_line(list(row.continuations)) for row in rows))
        for layer in header.layers:
            put(vector_file(name, layer), _encode(vectors[layer], header, len(rows), layer, self.path))
        entry = ShardEntry(name=name, rows=len(rows), documents=len(lines), files=files, state=dict(state or {}))
        self.manifest = self.manifest.model_copy(update={"shards": [*self.manifest.shards, entry]})
        self._commit()

    def write_token_texts(self, texts: Sequence[str]) -> None:
        """Write the text of every token id, once, so that predictions can be read without the tokenizer."""
        if TOKENS in self.manifest.extra_files:
            return
        entry = _write(self.path / TOKENS, json.dumps(list(texts), ensure_ascii=False).encode())
        self.manifest = self.manifest.model_copy(update={"extra_files": {**self.manifest.extra_files, TOKENS: entry}})

    def finish(self, counts: Mapping[str, int] | None = None) -> Store:
        """Measure the variance of every layer over the stored rows, seal the store and open it."""
        if self.rows < 2:
            raise UsageError(
                f"{self.path} would hold {self.rows} row(s), expected at least 2.\n"
                "  The usual cause is documents shorter than the earliest position read; lower min_pos or add text."
            )
        store = Store(self.path, self.manifest)
        documents = len(store.document_index)
        variance = {
            layer: Variance(value=_variance(store, layer), n=len(store), documents=documents) for layer in store.layers
        }
        update = {"complete": True, "counts": dict(counts or {}), "variance": variance}
        self.manifest = self.manifest.model_copy(update=update)
        self._commit()
        guarded(self.path / MANIFEST, lambda: finish(self.path, self._identity))
        return Store.open(self.path)

    def _commit(self) -> None:
        guarded(self.path / MANIFEST, lambda: write_manifest(self.path, self.manifest))


def _line(document: Document) -> bytes:
    return _json_line(document.as_line())


def _json_line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="surrogatepass") + b"\n"


def _records(rows: Sequence[NewRow], lines: Sequence[bytes], header: StoreHeader) -> "np.ndarray[Any, Any]":
    starts = np.cumsum([0, *(len(line) for line in lines)])
    records = np.zeros(len(rows), dtype=header.row_dtype)
    where = np.array([row.document for row in rows], dtype=np.int64)
    records["doc_start"] = starts[where]
    records["doc_bytes"] = np.diff(starts)[where]
    for field in ("pos", "char_end", "recent_start", "token_id", "prev_token_id", "surprise"):
        records[field] = [getattr(row, field) for row in rows]
    if header.predictions:
        records["predictions"] = [row.predictions for row in rows]
    if header.certainty:
        records["top_probability"] = [row.top_probability for row in rows]
    return records


def _encode(vectors: Tensor, header: StoreHeader, rows: int, layer: int, path: Path) -> bytes:
    if tuple(vectors.shape) != (rows, header.d_model):
        raise ValueError(
            f"vectors of layer {layer} have shape {tuple(vectors.shape)}, expected {(rows, header.d_model)}"
        )
    stored = vectors.detach().cpu().to(TORCH_DTYPES[header.dtype]).contiguous()
    if not torch.isfinite(stored).all():
        largest = vectors.abs().max().item()
        raise StoreError(
            f"{path}: layer {layer} holds values that {header.dtype} cannot (largest {largest:.3g}).\n"
            "  The usual cause is a target with very large activations, or one that gives NaN.\n"
            "  Capture with dtype bfloat16 or float32; if the largest is nan, the target itself is broken."
        )
    return stored.view(torch.uint8).numpy().tobytes()


def _write(path: Path, data: bytes) -> FileEntry:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            handle.write(data[: len(data) // 2])
            handle.flush()
            fault_point("shard")
            handle.write(data[len(data) // 2 :])

    guarded(path, lambda: write_atomic(path, write))
    return FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def guarded(path: Path, write: Callable[[], None]) -> None:
    """Call `write`, which writes `path` atomically.

    Raises:
        StoreError: the disk is full, or the folder cannot be written; names the file.
    """
    try:
        write()
    except OSError as error:
        raise StoreError(
            f"could not write {path}: {error.strerror or error}.\n"
            "  The usual cause is a full disk. What was finished is kept and nothing was overwritten.\n"
            "  Make room and run the same command again."
        ) from error


def _variance(store: Store, layer: int, chunk: int = 4096) -> float:
    """mean |u|^2 - |mean u|^2 of the stored unit vectors: the same as `vectors.variance`, in one pass."""
    total = torch.zeros(store.d_model, dtype=torch.float64)
    squares = 0.0
    for start in range(0, len(store), chunk):
        directions = unit(store.vectors(range(start, min(start + chunk, len(store))), layer)).double()
        total += directions.sum(0)
        squares += directions.square().sum().item()
    return squares / len(store) - (total / len(store)).square().sum().item()
