"""Where documents come from: a corpus file of the user's, or a language that writes its own."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

from legible import languages
from legible.documents import Document, Split, read_corpus, split_of
from legible.errors import UsageError
from legible.fileio import write_atomic
from legible.reading.checkpoint import Checkpoint


def language_of(teacher: str, corpus: str | None) -> str | None:
    """Who knows the facts of a run's texts: the teacher's language where it knows these texts, None for free text.

    Without a corpus the texts are the language's own; that of a teacher who writes none gives way to the world.
    """
    language = languages.get(teacher) if teacher in languages.names() else None
    if corpus is None:
        writes = language is not None and language.documents("train", 0, 0) is not None
        return teacher if writes else DocumentSource.language
    return teacher if language is not None and not language.bounded else None


def split_named(name: str) -> Split:
    """The split of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in get_args(Split):
        raise UsageError(f"no split {name!r}: expected {', '.join(get_args(Split))}.")
    return name  # type: ignore[return-value]


@dataclass(frozen=True)
class DocumentSource:
    """Where documents come from: a corpus file, or, without one, a language that writes its texts from a seed."""

    corpus: str | None
    seed: int = 0
    language: str = "world"

    def documents(self, split: Split, count: int, *, sentences: int | None = None) -> list[Document]:
        """The first `count` documents of a split; splits are by document, so none stands in two.

        Args:
            sentences: texts of so many sentences in place of a language's whole documents; a corpus has none.

        Raises:
            UsageError: the corpus is missing, unreadable or empty, or has no document in this split; or there is none,
                and the language writes no documents.
        """
        if self.corpus is None:
            own = languages.get(self.language).documents(split, self.seed, count, sentences=sentences)
            if own is None:
                raise UsageError(f"the language {self.language!r} cannot write texts.\n  Give some: --corpus FILE")
            return own
        if sentences is not None:
            return []
        of_split = (document for document in read_corpus(Path(self.corpus)) if split_of(document.doc_id) == split)
        chosen = list(islice(of_split, count))
        if not chosen:
            raise UsageError(
                f"{self.corpus} has no document in the split {split!r}: documents are split by a hash of their id.\n"
                "  The usual cause is a corpus of a few documents. Give a hundred documents or more, one per line."
            )
        if mended := sum(document.repaired for document in chosen):
            print(f"{mended} documents held lone surrogates, replaced by U+FFFD", file=sys.stderr, flush=True)
        return chosen

    def training(self, count: int, short: int) -> list[Document]:
        """What a pair is trained on: `count` documents, and `short` texts of a few sentences beside them."""
        return [*self.documents("train", count), *(self.short("train", short) if short else [])]

    def short(self, split: Split, count: int) -> list[Document]:
        """`count` texts of one to three sentences, as people type them; none of a corpus.

        Of each length as many, more of the shorter ones where a third is no whole number.
        """
        found = []
        for sentences in (1, 2, 3):
            found += self.documents(split, (count + 3 - sentences) // 3, sentences=sentences)
        return found


def source_for(checkpoint: Checkpoint, name: str, corpus: str | None, seed: int) -> DocumentSource:
    """Where a checkpoint's held-out documents come from.

    Args:
        checkpoint: what reads them.
        name: what the message calls it.
        corpus: a file; absent: the language's own texts where it writes them, else the contract's corpus.
        seed: of a language's own texts.

    Raises:
        UsageError: the contract's corpus is not there.
    """
    language = checkpoint.language
    if corpus is None and language is not None and language.documents("test", seed, 0) is not None:
        return DocumentSource(None, seed, language.name)
    if corpus is None:
        corpus = checkpoint.contract.legible.corpus if checkpoint.contract.legible else None
        if corpus is None or not Path(corpus).is_file():
            raise UsageError(
                f"{name} was trained on the corpus {corpus!r}, which is not here.\n"
                "  Give documents that it was not trained on: --corpus FILE"
            )
    return DocumentSource(corpus)


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as handle:
            for document in documents:
                handle.write(json.dumps(document.as_line(), ensure_ascii=False) + "\n")

    write_atomic(path, write)


def read_documents(path: Path) -> list[Document]:
    """The documents of a file that `write_documents` wrote."""
    return list(read_corpus(path))
