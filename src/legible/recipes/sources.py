"""Where documents come from: a corpus file of the user's, or the built-in world."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

from legible.documents import Document, Split, read_corpus, split_of
from legible.errors import UsageError
from legible.fileio import write_atomic
from legible.languages.world import story_document

CALIBRATE_SEED = 3_000_000
"""Added to the seed of stories that fit calibrators: training wordings, but no story of any run's dev store."""


def split_named(name: str) -> Split:
    """The split of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in get_args(Split):
        raise UsageError(f"no split {name!r}: expected {', '.join(get_args(Split))}.")
    return name  # type: ignore[return-value]


@dataclass(frozen=True)
class Source:
    """Where documents come from: a corpus file, or the world under a seed."""

    corpus: str | None
    seed: int = 0

    def documents(self, split: Split, count: int) -> list[Document]:
        """The first `count` documents of a split; splits are by document, so none stands in two.

        Raises:
            UsageError: the corpus is missing, unreadable or empty, or has no document in this split.
        """
        if self.corpus is None:
            if split == "calibrate":
                return [story_document("dev", CALIBRATE_SEED + self.seed, index) for index in range(count)]
            return [story_document(split, self.seed, index) for index in range(count)]
        of_split = (document for document in read_corpus(Path(self.corpus)) if split_of(document.doc_id) == split)
        chosen = list(islice(of_split, count))
        if not chosen:
            raise UsageError(
                f"{self.corpus} has no document in the split {split!r}: documents are split by a hash of their id.\n"
                "  The usual cause is a corpus of a few documents. Put one document a line, a hundred or more."
            )
        if mended := sum(document.repaired for document in chosen):
            print(f"{mended} documents held lone surrogates, replaced by U+FFFD", file=sys.stderr, flush=True)
        return chosen


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as handle:
            for document in documents:
                handle.write(json.dumps({"doc_id": document.doc_id, "text": document.text}, ensure_ascii=False) + "\n")

    write_atomic(path, write)


def read_documents(path: Path) -> list[Document]:
    """The documents of a file that `write_documents` wrote."""
    return list(read_corpus(path))
