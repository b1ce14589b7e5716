"""The layout of a store on disk: manifest, shard files, row records. Pure descriptions and checks; no tensors.

    manifest.json         header, shards with byte counts and sha256 of every file, counts, variance; the commit record
    tokens.json           text of every token id (only where predictions were captured)
    00000.rows.bin        one fixed-size record per row
    00000.documents.jsonl {"doc_id", "text", "labels"} a line; rows point into it by byte offset
    00000.continuations.jsonl  the continuations of one row per line (only where they were captured)
    00000.layerK.bin      raw vectors, row-major, in the header's dtype

A shard exists once the manifest names it: files that it does not name are leftovers of a killed run.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from legible.config.base import without_later
from legible.errors import StoreError
from legible.fileio import file_sha256, write_json

MANIFEST = "manifest.json"
TOKENS = "tokens.json"
DType = Literal["float32", "float16", "bfloat16"]
TORCH_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
RAW_DTYPES: dict[str, str] = {"float32": "<i4", "float16": "<i2", "bfloat16": "<i2"}  # bits only: numpy has no bfloat16


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StoreHeader(_Record):
    """What a store holds, and so its identity: a store continues only under an equal header.

    What came after the first stores is written only where it is set: `certainty` and `continuations`.
    """

    layers: tuple[int, ...]
    d_model: int
    dtype: DType
    predictions: int = 0
    certainty: bool = False
    continuations: int = 0
    origin: dict[str, Any] = {}  # target, capture configuration: whatever made the vectors

    @model_serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_later(self, handler(self), ("certainty", "continuations"))

    @property
    def row_dtype(self) -> np.dtype[Any]:
        """The row record of such a store."""
        return row_dtype(self.predictions, self.certainty)


class FileEntry(_Record):
    """Size and checksum of one file."""

    bytes: int
    sha256: str


class ShardEntry(_Record):
    """One finished shard; `state` is what the writer needs to continue after it."""

    name: str
    rows: int
    documents: int
    files: dict[str, FileEntry]
    state: dict[str, Any] = {}


class Variance(_Record):
    """V of one layer over the whole store."""

    value: float
    n: int
    documents: int


class Manifest(_Record):
    """The commit record of a store."""

    kind: Literal["legible_store"] = "legible_store"
    version: Literal[1] = 1
    header: StoreHeader
    complete: bool = False
    counts: dict[str, int] = {}
    variance: dict[int, Variance] = {}
    extra_files: dict[str, FileEntry] = {}
    shards: list[ShardEntry] = []


def row_dtype(predictions: int, certainty: bool = False) -> np.dtype[Any]:
    """The row record; `doc_start` and `doc_bytes` are the document's line in the shard's documents file."""
    fields: list[tuple[Any, ...]] = [("doc_start", "<i8"), ("doc_bytes", "<i4"), ("surprise", "<f4")]
    fields += [(name, "<i4") for name in ("pos", "char_end", "recent_start", "token_id", "prev_token_id")]
    if predictions:
        fields.append(("predictions", "<i4", (predictions,)))
    if certainty:
        fields.append(("top_probability", "<f4"))
    return np.dtype(fields)


def vector_file(shard: str, layer: int) -> str:
    """Name of a shard's vectors of one layer."""
    return f"{shard}.layer{layer}.bin"


def continuations_file(shard: str) -> str:
    """Name of a shard's continuations, one JSON list a row."""
    return f"{shard}.continuations.jsonl"


def file_entry(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    return FileEntry(bytes=path.stat().st_size, sha256=file_sha256(path))


def check_file(path: Path, entry: FileEntry, *, verify: bool) -> None:
    """Compare a file with its entry: always the size, with `verify` the checksum too.

    Raises:
        StoreError: the file is missing, has another size, or another content.
    """
    mend = f"  Delete the folder {path.parent} and capture again."
    if not path.is_file():
        raise StoreError(f"{path} is missing: the store's manifest names it.\n{mend}")
    size = path.stat().st_size
    if size != entry.bytes:
        raise StoreError(
            f"{path} has {size} bytes, expected {entry.bytes}.\n"
            f"  The usual cause is a truncated copy or a full disk.\n{mend}"
        )
    if verify and file_entry(path).sha256 != entry.sha256:
        raise StoreError(f"{path} does not match its checksum: its bytes changed after it was written.\n{mend}")


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest atomically, sealed with its own checksum."""
    body = manifest.model_dump(mode="json")
    write_json(path / MANIFEST, {"checksum": _seal(body), **body})


def manifest_sha256(manifest: Manifest) -> str:
    """Checksum of a manifest, and through the checksums in it of every file of the store."""
    return _seal(manifest.model_dump(mode="json"))


def read_manifest(path: Path) -> Manifest:
    """Read and check the manifest in the folder `path`.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise StoreError(f"{path} is not a store: it has no {MANIFEST}.\n  Make one with `legible capture`.")
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        checksum = body.pop("checksum")
        manifest = Manifest.model_validate(body)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, ValidationError) as error:
        raise StoreError(f"{file} is not a store manifest ({_first_line(error)}).\n  Capture again.") from None
    if checksum != _seal(body):
        raise StoreError(f"{file} does not match its checksum: it was changed after it was written.\n  Capture again.")
    return manifest


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
