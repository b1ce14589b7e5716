"""The memory-mapped activation store: random reads of vectors, and the rows and documents they stand for.

Vectors are raw (never normalised), memory-mapped and read shard by shard, so a store may be larger than memory.
Nothing here runs a model. The layout is `legible.data.format`, writing is `legible.data.writer`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from legible.data.format import (
    RAW_DTYPES,
    TOKENS,
    TORCH_DTYPES,
    FileEntry,
    Manifest,
    ShardEntry,
    check_file,
    continuations_file,
    manifest_sha256,
    read_manifest,
    vector_file,
)
from legible.documents import Document
from legible.errors import StoreError, UsageError
from legible.labels import from_json
from legible.languages.base import Row

Rows = Sequence[int] | NDArray[np.integer[Any]] | Tensor | range


class Store:
    """A finished store, opened for reading. A file is compared with its checksum when it is first touched.

    Attributes:
        path: the folder.
        layers: the layers K it holds.
        d_model: width of the vectors.
        counts: documents read, skipped (too short) and truncated while it was made.
        origin: what made it: target, checksum, capture configuration.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.layers = manifest.header.layers
        self.d_model = manifest.header.d_model
        self.counts = manifest.counts
        self.origin = manifest.header.origin
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        self._vectors: dict[tuple[int, int], NDArray[Any]] = {}
        self._document_at = lru_cache(maxsize=256)(self._read_document)
        self._continued = lru_cache(maxsize=4)(self._read_continuations)
        self._verified: set[str] = set()

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = False) -> "Store":
        """Open a finished store.

        Args:
            path: its folder.
            verify: compare every file with its checksum now, not when it is first touched; sizes are always compared.

        Raises:
            StoreError: no store, an unfinished one, or a damaged file (named).
        """
        path = Path(path)
        manifest = read_manifest(path)
        if not manifest.complete:
            raise StoreError(
                f"{path} is unfinished: the capture was stopped.\n  Run the same command again; it resumes."
            )
        check_files(path, manifest, verify=verify)
        store = cls(path, manifest)
        if verify:
            store._verified |= {name for shard in manifest.shards for name in shard.files} | manifest.extra_files.keys()
        return store

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, rows={len(self)}, layers={self.layers}, d_model={self.d_model})"

    def vectors(self, rows: Rows, layer: int) -> Float[Tensor, "n d_model"]:
        """Raw activations of the given rows, in their order, as float32.

        Raises:
            UsageError: the store does not hold that layer.
            IndexError: a row is negative or past the end.
        """
        if layer not in self.layers:
            raise UsageError(
                f"{self.path} holds layers {list(self.layers)}, not {layer}.\n  Capture again with that layer."
            )
        index = np.asarray(rows, dtype=np.int64)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"row {int(index.max())} (or {int(index.min())}) of a store with {len(self)} rows")
        shard_of = np.searchsorted(self._starts, index, side="right") - 1
        out = torch.empty(len(index), self.d_model)
        for shard in np.unique(shard_of):
            where = np.flatnonzero(shard_of == shard)
            bits = torch.from_numpy(self._raw(int(shard), layer)[index[where] - self._starts[shard]])
            out[torch.from_numpy(where)] = bits.view(TORCH_DTYPES[self.manifest.header.dtype]).float()
        return out

    @cached_property
    def sha256(self) -> str:
        """Checksum of everything in the store: rows, documents, vectors and what made them."""
        return manifest_sha256(self.manifest)

    def variance(self, layer: int) -> dict[str, float | int]:
        """V of one layer with its origin: `value`, `n` rows, `documents`."""
        return self.manifest.variance[layer].model_dump()

    def row(self, i: int) -> Row:
        """Where row `i` stands and what stands around it."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of a store with {len(self)} rows")
        record = self.records[i]
        shard = int(np.searchsorted(self._starts, i, side="right")) - 1
        header, surprise = self.manifest.header, float(record["surprise"])
        predicted = record["predictions"] if header.predictions else ()
        return Row(
            document=self._document_at(shard, int(record["doc_start"]), int(record["doc_bytes"])),
            pos=int(record["pos"]),
            char_end=int(record["char_end"]),
            recent_start=int(record["recent_start"]),
            token_id=int(record["token_id"]),
            prev_token_id=int(record["prev_token_id"]),
            predictions=tuple(self._token_texts[int(token)] for token in predicted),
            surprise=None if np.isnan(surprise) else surprise,
            top_probability=float(record["top_probability"]) if header.certainty else None,
            continuations=self._continued(shard)[i - int(self._starts[shard])] if header.continuations else (),
        )

    def rows(self, rows: Rows | None = None) -> Iterator[Row]:
        """The given rows (default: all), one at a time."""
        for i in range(len(self)) if rows is None else rows:
            yield self.row(int(i))

    @cached_property
    def records(self) -> NDArray[Any]:
        """All row records as one structured array (some 40 bytes per row); see `format.row_dtype`."""
        dtype = self.manifest.header.row_dtype
        shards = self.manifest.shards
        parts = [np.fromfile(self._checked(f"{shard.name}.rows.bin", shard.files), dtype=dtype) for shard in shards]
        return np.concatenate([np.empty(0, dtype), *parts])

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """Id of the read token, per row."""
        return np.asarray(self.records["token_id"])

    @property
    def prev_token_ids(self) -> NDArray[np.int32]:
        """Id of the token before the read one, per row; -1 where there is none or it is unknown."""
        return np.asarray(self.records["prev_token_id"])

    @property
    def pos(self) -> NDArray[np.int32]:
        """Index of the read token in the tokenizer's ids, per row."""
        return np.asarray(self.records["pos"])

    @cached_property
    def doc_ids(self) -> list[str]:
        """Document of each row; rows of one document share one string."""
        ids: list[str] = []
        for number, shard in enumerate(self.manifest.shards):
            names = self._lines(shard)
            records = self.records[self._starts[number] : self._starts[number + 1]]
            ids.extend(names[int(start)] for start in records["doc_start"])
        return ids

    def documents(self) -> "DocumentTable":
        """The documents by id, read from disk one at a time."""
        return DocumentTable(self)

    @cached_property
    def document_index(self) -> dict[str, tuple[int, int, int]]:
        """Where each document stands: shard, first byte, bytes. Where an id occurs twice, the longest text."""
        index: dict[str, tuple[int, int, int]] = {}
        for number in range(len(self.manifest.shards)):
            records = self.records[self._starts[number] : self._starts[number + 1]]
            ids = self.doc_ids[self._starts[number] : self._starts[number + 1]]
            for name, start, size in zip(ids, records["doc_start"], records["doc_bytes"], strict=True):
                if name not in index or index[name][2] < size:
                    index[name] = (number, int(start), int(size))
        return index

    @cached_property
    def _token_texts(self) -> list[str]:
        file = self._checked(TOKENS, self.manifest.extra_files)
        texts: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return texts

    def _lines(self, shard: ShardEntry) -> dict[int, str]:
        names: dict[int, str] = {}
        with self._checked(f"{shard.name}.documents.jsonl", shard.files).open("rb") as handle:
            start = 0
            for line in handle:
                names[start] = json.loads(line)["doc_id"]
                start += len(line)
        return names

    def _read_document(self, shard: int, start: int, size: int) -> Document:
        entry = self.manifest.shards[shard]
        with self._checked(f"{entry.name}.documents.jsonl", entry.files).open("rb") as handle:
            handle.seek(start)
            line = json.loads(handle.read(size))
        return Document(line["doc_id"], line["text"], labels=from_json(line.get("labels", {})))

    def _read_continuations(self, shard: int) -> list[tuple[str, ...]]:
        entry = self.manifest.shards[shard]
        path = self._checked(continuations_file(entry.name), entry.files)
        return [tuple(json.loads(line)) for line in path.read_bytes().splitlines()]

    def _raw(self, shard: int, layer: int) -> NDArray[Any]:
        if (shard, layer) not in self._vectors:
            entry = self.manifest.shards[shard]
            self._vectors[shard, layer] = np.memmap(
                self._checked(vector_file(entry.name, layer), entry.files),
                dtype=RAW_DTYPES[self.manifest.header.dtype],
                mode="r",
                shape=(entry.rows, self.d_model),
            )
        return self._vectors[shard, layer]

    def _checked(self, name: str, files: Mapping[str, FileEntry]) -> Path:
        """The path of a file whose checksum was compared once."""
        if name not in self._verified:
            check_file(self.path / name, files[name], verify=True)
            self._verified.add(name)
        return self.path / name


class DocumentTable(Mapping[str, Document]):
    """The documents of a store by id, read from disk when asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, doc_id: str) -> Document:
        return self._store._document_at(*self._store.document_index[doc_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.document_index)

    def __len__(self) -> int:
        return len(self._store.document_index)


def check_files(path: Path, manifest: Manifest, *, verify: bool) -> None:
    """Compare every file that the manifest names with its entry; see `format.check_file`."""
    for name, entry in manifest.extra_files.items():
        check_file(path / name, entry, verify=verify)
    for shard in manifest.shards:
        for name, entry in shard.files.items():
            check_file(path / name, entry, verify=verify)
