"""Writing a labelled corpus: the file, what it is made of beside it, and how far its splits overlap.

`F` has one document per line (`legible.documents`). `F.about.json` says source, licence and attribution, who gave the
labels and how often they are wrong, and the overlap. `F.meta.json` says what the file depends on (`legible.identity`).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from legible.corpora.taggers import Tagger
from legible.documents import Document, Split, read_corpus, split_of
from legible.errors import UsageError
from legible.fileio import file_sha256, write_atomic, write_json
from legible.identity import Identity, claim, finish

GRAM = 13
"""Words in a row that two splits share where one has copied the other, or both a third."""
_MARKUP = re.compile(r"<[|\w/][^<>\n]{0,40}>(?:\w+\n)?")


@dataclass(frozen=True)
class Origin:
    """Where texts come from.

    name: of the texts, in words.
    licence: under which they stand.
    attribution: who wrote them and how to say so.
    """

    name: str
    licence: str
    attribution: str


def write_corpus(
    out: Path,
    documents: Callable[[], Iterable[Document]],
    origin: Origin,
    parts: dict[str, Any],
    tagger: Tagger | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a corpus once; run again, it says what is there.

    Args:
        out: a `.jsonl` file, new or of the same parts.
        documents: gives them, in order.
        origin: of the texts.
        parts: what the documents depend on.
        tagger: finds labels that they lack.
        progress: called with (documents written, documents).

    Returns:
        What `F.about.json` says; see `about`.

    Raises:
        UsageError: `out` holds something else, or no document was given.
    """
    identity = corpus_identity(parts, tagger)
    if claim(out, identity) != "finished":
        write_atomic(out, lambda temporary: _write(temporary, documents(), tagger, progress))
        write_json(about_file(out), about(read_corpus(out), origin))
        finish(out, identity)
    recorded: dict[str, Any] = json.loads(about_file(out).read_text(encoding="utf-8"))
    return recorded


def write_first(
    out: Path,
    documents: Iterable[Document],
    origin: Origin,
    parts: dict[str, Any],
    raw: Path,
    *,
    count: int | None = None,
    tagger: Tagger | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the first `count` documents of a raw file, all where there is no count; see `write_corpus`."""
    depends = {**parts, "count": count, "from": file_sha256(raw)}
    return write_corpus(out, lambda: islice(documents, count), origin, depends, tagger, progress)


def corpus_identity(parts: dict[str, Any], tagger: Tagger | None) -> Identity:
    """What a corpus file depends on."""
    return Identity("corpus", {**parts, "tagger": None if tagger is None else tagger.name}, beside=True)


def about_file(out: Path) -> Path:
    """Where what a corpus is made of stands."""
    return out.with_name(f"{out.name}.about.json")


def tagged(documents: Iterable[Document], tagger: Tagger | None, at_once: int = 256) -> Iterator[Document]:
    """The documents with the tagger's labels behind their own, those in English alone."""
    part: list[Document] = []
    for document in documents:
        part.append(document)
        if len(part) == at_once:
            yield from _tagged(part, tagger)
            part = []
    yield from _tagged(part, tagger)


def about(documents: Iterable[Document], origin: Origin, said: Callable[[str], str] | None = None) -> dict[str, Any]:
    """What a corpus is made of.

    Args:
        documents: all of them.
        origin: of the texts.
        said: the part of a text in which overlap counts; absent: all of it.

    Returns:
        `texts`, `licence`, `attribution`; `documents` by split; `labels`: by kind its `documents`, and by source the
        values and their `error`; `overlap`: of every split but train the documents that share `n` words in a row with
        train, markup left out.
    """
    splits: Counter[Split] = Counter()
    kinds: dict[str, dict[str, Any]] = {}
    words: list[tuple[Split, list[str]]] = []
    for document in documents:
        split = split_of(document.doc_id)
        splits[split] += 1
        words.append((split, _words(said(document.text) if said is not None else document.text)))
        for kind, label in document.labels.items():
            one = kinds.setdefault(kind, {"documents": 0, "sources": {}})
            one["documents"] += 1
            source = one["sources"].setdefault(label.source, {"values": 0, "error": label.error})
            source["values"] += len(label.marks)
    return {
        "texts": origin.name,
        "licence": origin.licence,
        "attribution": origin.attribution,
        "documents": dict(sorted(splits.items())),
        "labels": kinds,
        "overlap": {"n": GRAM, **overlap(words)},
    }


def overlap(texts: Sequence[tuple[Split, Sequence[str]]], n: int = GRAM) -> dict[str, dict[str, int]]:
    """Of every split but train, how many documents there are and how many share `n` words in a row with train."""
    known = {gram for split, words in texts if split == "train" for gram in _grams(words, n)}
    counts: dict[str, dict[str, int]] = {}
    for split, words in texts:
        if split != "train":
            one = counts.setdefault(split, {"documents": 0, "overlapping": 0})
            one["documents"] += 1
            one["overlapping"] += any(gram in known for gram in _grams(words, n))
    return dict(sorted(counts.items()))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a raw file: what `legible.documents.read_corpus` reads, its other fields kept.

    Raises:
        UsageError: as for `read_corpus`.
    """
    import gzip

    documents = list(read_corpus(path))
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as handle:
        lines = [line for line in handle if line.strip()]
    if len(lines) == len(documents) and lines[0].lstrip().startswith("{"):
        return [json.loads(line) for line in lines]
    return [{"text": document.text, "title": document.doc_id} for document in documents]


def _tagged(part: Sequence[Document], tagger: Tagger | None) -> Iterator[Document]:
    english = [one for one in part if "language" not in one.labels or one.labels["language"].at(0) == "English"]
    tags = list(tagger.tag(readable(one.text) for one in english)) if tagger is not None else [{}] * len(english)
    labels = {one.doc_id: dict(tagged) for one, tagged in zip(english, tags, strict=True)}
    for one in part:
        yield replace(one, labels={**labels.get(one.doc_id, {}), **one.labels})


def readable(text: str) -> str:
    """A text with blanks in the place of a chat's markup, so that every character keeps its place."""
    return _MARKUP.sub(lambda mark: " " * len(mark[0]), text)


def _write(
    path: Path, documents: Iterable[Document], tagger: Tagger | None, progress: Callable[[int, int], None] | None
) -> None:
    written = list(documents)
    with path.open("w", encoding="utf-8") as handle:
        for number, document in enumerate(tagged(written, tagger), start=1):
            handle.write(json.dumps(document.as_line(), ensure_ascii=False) + "\n")
            if progress is not None:
                progress(number, len(written))
    if not written:
        raise UsageError(
            "no document with a text is left to write.\n  Compare the raw file with `legible corpus --help`."
        )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", _MARKUP.sub(" ", text).lower())


def _grams(words: Sequence[str], n: int) -> Iterator[int]:
    return (hash(tuple(words[at : at + n])) for at in range(len(words) - n + 1))
