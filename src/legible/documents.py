"""A document: the unit of splitting, capture and intervals."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from legible.errors import UsageError

Split = Literal["train", "dev", "calibrate", "test"]


@dataclass(frozen=True)
class Document:
    """One text with an id that never changes; for the world the id alone regenerates the story."""

    doc_id: str
    text: str


def split_of(doc_id: str, *, dev: float = 0.05, test: float = 0.15) -> Split:
    """The split of a document of an outside corpus: a hash of its id, so it never moves.

    `dev` chooses checkpoints and `calibrate` fits calibrators: each is half of the share `dev`.
    """
    share = int.from_bytes(hashlib.sha256(doc_id.encode()).digest()[:6]) / 2**48
    if share < test:
        return "test"
    return "calibrate" if share < test + dev / 2 else "dev" if share < test + dev else "train"


def read_corpus(path: Path) -> Iterator[Document]:
    """Documents of a `.jsonl`, `.jsonl.gz` (field `text`, optional `doc_id`) or plain `.txt` file (one a line).

    Raises:
        UsageError: the file is missing, not UTF-8, holds a line that is not an object with `text`, or is empty.
    """
    if not path.is_file():
        raise UsageError(
            f"no corpus at {path}: expected a .jsonl, .jsonl.gz or .txt file.\n  Check the path given with --corpus."
        )
    opener = gzip.open if path.suffix == ".gz" else open
    found = 0
    try:
        with opener(path, "rt", encoding="utf-8") as handle:
            for number, line in enumerate(handle):
                if not line.strip():
                    continue
                document = _document(path, number, line)
                if document.text.strip():
                    found += 1
                    yield document
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start}).\n  Convert it: iconv -t UTF-8 FILE > NEW"
        ) from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is not a whole gzip file ({error}).\n  Fetch or compress it again.") from None
    if not found:
        raise UsageError(f"{path} holds no text.\n  Expected one JSON object with a non-empty `text` a line.")


def _document(path: Path, number: int, line: str) -> Document:
    if ".jsonl" not in path.name:
        return Document(f"{path.stem}-{number:07d}", line.rstrip("\n"))
    try:
        row = json.loads(line)
        return Document(str(row.get("doc_id", f"{path.name.split('.')[0]}-{number:07d}")), str(row["text"]))
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise UsageError(
            f'{path} line {number + 1} is not a JSON object with a `text` field.\n  Expected: {{"text": "..."}}'
        ) from None
