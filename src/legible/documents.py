"""A document: the unit of splitting, capture and intervals."""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from legible.errors import UsageError
from legible.fileio import refuse_other_kind, repaired
from legible.labels import Label, from_json, to_json

Split = Literal["train", "dev", "calibrate", "test"]
FIELD = "text"
"""Of a corpus file's objects, the one that each must have."""
_LINES = (".jsonl", ".ndjson", ".jl")
_BLACK = re.compile(r"\S")
_EXPECTED = "JSON lines or a JSON array of objects with a non-empty `text` (.jsonl, .json), or a .txt file, .gz or not"


@dataclass(frozen=True)
class Document:
    """One text with an id that never changes; for the world the id alone regenerates the story.

    labels: what is known of the text beside its words, by kind; see `legible.labels`.
    """

    doc_id: str
    text: str
    repaired: bool = field(default=False, compare=False)  # held lone surrogates, which are no text: replaced
    labels: Mapping[str, Label] = field(default_factory=dict, hash=False)

    def as_line(self) -> dict[str, Any]:
        """The document as a line of a corpus file; labels only where there are some."""
        labels = {"labels": to_json(self.labels)} if self.labels else {}
        return {"doc_id": self.doc_id, "text": self.text, **labels}


def split_of(doc_id: str, *, dev: float = 0.05, test: float = 0.15) -> Split:
    """The split of a document of an outside corpus: a hash of its id, so it never moves.

    `dev` chooses checkpoints and `calibrate` fits calibrators: each is half of the share `dev`.
    """
    share = int.from_bytes(hashlib.sha256(doc_id.encode()).digest()[:6]) / 2**48
    if share < test:
        return "test"
    return "calibrate" if share < test + dev / 2 else "dev" if share < test + dev else "train"


def check_corpus(path: Path | str | None) -> None:
    """Refuse a corpus that is not there, before anything is loaded to read it with.

    Args:
        path: its file; None where none was named.

    Raises:
        UsageError: no such file.
    """
    if path is not None and not Path(path).is_file():
        raise UsageError(f"no corpus at {path}: expected {_EXPECTED}.\n  Check the path given with --corpus.")


def read_corpus(path: Path) -> Iterator[Document]:
    """Documents of a file: JSON with `text`, an optional `doc_id` and optional `labels`, or plain text, one per line.

    JSON is one object per line (`.jsonl`, `.ndjson`, `.jl`) or an array (`.json`), plain text `.txt`; with any other
    extension the content decides. Each may be packed (`.gz`). Lone surrogates become U+FFFD, and their documents are
    marked.

    Raises:
        UsageError: the file is missing, empty or not UTF-8, or holds a value that is not an object with a text.
    """
    check_corpus(path)
    packed = path.suffix.lower() == ".gz"
    if not packed:
        with path.open("rb") as raw:
            refuse_other_kind(raw.read(64), path)
    found = 0
    try:
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig") as handle:
            for document in _documents(path, cast(TextIO, handle)):
                if document.text.strip():
                    found += 1
                    yield document
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start}).\n  Convert it: iconv -t UTF-8 FILE > NEW"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} is not a complete gzip file ({error}).\n  Download or compress it again.") from None
    if not found:
        raise UsageError(f"{path} holds no text.\n  Expected {_EXPECTED}.")


def _documents(path: Path, handle: TextIO) -> Iterator[Document]:
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending in (".csv", ".tsv"):
        raise UsageError(f"{path} is a table, expected {_EXPECTED}.\n  Write its column of texts as JSON lines.")
    start = next((line for line in handle if line.strip()), "").lstrip()
    handle.seek(0)
    if ending in _LINES and not start.startswith("["):
        for number, line in enumerate(handle):
            if line.strip():
                yield _document(path, number, f"line {number + 1}", _parsed(path, line, number))
    elif ending in (*_LINES, ".json") or (ending != ".txt" and _is_json(start, handle)):
        handle.seek(0)
        for number, row in enumerate(_values(path, handle.read())):
            yield _document(path, number, f"item {number + 1}", row)
    else:
        handle.seek(0)
        for number, line in enumerate(handle):
            yield Document(f"{path.stem}-{number:07d}", line.rstrip("\n"))


def _is_json(start: str, handle: TextIO) -> bool:
    """Whether a file of unknown name begins with a JSON object, alone or in an array."""
    if not start.startswith(("{", "[")):
        return False
    try:
        first, _ = json.JSONDecoder().raw_decode(start + handle.read() if start.startswith("[") else start)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) or (isinstance(first, list) and isinstance(next(iter(first), None), dict))


def _values(path: Path, text: str) -> Iterator[Any]:
    """The items of JSON arrays and the values beside them."""
    at = _next(text, 0)
    while at < len(text):
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            number = text.count("\n", 0, getattr(error, "pos", at))
            raise _no_document(path, f"line {number + 1}", f"not JSON ({error})") from None
        yield from value if isinstance(value, list) else [value]
        at = _next(text, end)


def _next(text: str, at: int) -> int:
    """The place of the next character that is no space."""
    found = _BLACK.search(text, at)
    return found.start() if found else len(text)


def _parsed(path: Path, line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _no_document(path, f"line {number + 1}", f"not JSON ({error})") from None


def _document(path: Path, number: int, where: str, row: Any) -> Document:
    if not isinstance(row, dict) or FIELD not in row:
        raise _no_document(path, where, "without a `text` field" if isinstance(row, dict) else f"{_kind(row)}")
    text, doc_id = row[FIELD], row.get("doc_id")
    if not isinstance(text, str):
        raise _no_document(path, where, f"an object whose `text` is {_kind(text)}")
    if not isinstance(doc_id, str | int | float | None) or isinstance(doc_id, bool):
        raise _no_document(path, where, f"an object whose `doc_id` is {_kind(doc_id)}")
    if doc_id is None or doc_id != doc_id or not str(doc_id).strip():  # one id for all would put all into one split
        doc_id = f"{path.name.split('.')[0]}-{number:07d}"
    try:
        labels = from_json(row.get("labels") or {})
    except ValueError as error:
        raise _no_document(path, where, f"an object with impossible labels ({error})") from None
    clean, clean_id = repaired(text), repaired(str(doc_id))
    return Document(clean_id, clean, repaired=(clean, clean_id) != (text, str(doc_id)), labels=labels)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _no_document(path: Path, where: str, what: str) -> UsageError:
    return UsageError(
        f'{path} {where} is {what}, expected an object with a text: {{"text": "..."}}.\n'
        "  The usual cause is another field's name, or chat turns where a text belongs. Write one text per document."
    )
