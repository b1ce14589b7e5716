"""Labels: what somebody else says is true of a text, with the word of who says so.

A label gives one kind of fact its values and, for each, the character from which on the text holds it: a topic from the
first one on, a name from where it is first named, a tense from its verb on. The labels of a corpus file travel with
its documents into the store and its rows. A kind that a text has no label of is undecided there; a label without a
value says that there are none.

In JSON, by kind: `{"source": "corpus", "error": 0.04, "values": [["Paris", 120], ["Rome", 171]]}`. `error`, the
measured share of wrong values, may be left out, as may a character of 0; a bare text or a list of texts is the corpus's
own word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CORPUS = "corpus"


@dataclass(frozen=True)
class Mark:
    """One value, and the character of the text (of those read, 0 to all) from which on it holds."""

    value: str
    start: int = 0


@dataclass(frozen=True)
class Label:
    """The values of one kind, in the order of their characters.

    source: `corpus`, or the tagger that found them.
    error: measured share of a tagger's values that are wrong, in [0, 1]; None where it was not measured.
    """

    marks: tuple[Mark, ...]
    source: str = CORPUS
    error: float | None = None

    def until(self, char_end: int) -> list[str]:
        """The values that the first `char_end` characters hold, no repeats, in order."""
        return list(dict.fromkeys(mark.value for mark in self.marks if mark.start <= char_end))

    def at(self, char_end: int) -> str | None:
        """The value of a kind with one at a time: the last that the first `char_end` characters hold."""
        found = [mark.value for mark in self.marks if mark.start <= char_end]
        return found[-1] if found else None


Labels = Mapping[str, Label]


def to_json(labels: Labels) -> dict[str, Any]:
    """Labels as plain JSON; inverse of `from_json`."""
    return {
        kind: {
            "source": label.source,
            **({} if label.error is None else {"error": label.error}),
            "values": [[mark.value, mark.start] if mark.start else [mark.value] for mark in label.marks],
        }
        for kind, label in labels.items()
    }


def from_json(found: Any) -> dict[str, Label]:
    """Labels of plain JSON.

    Raises:
        ValueError: it is no labels; says what.
    """
    if not isinstance(found, dict):
        raise ValueError(f"labels are {found!r:.40}, expected an object of kinds")
    return {str(kind): _label(str(kind), one) for kind, one in found.items()}


def _label(kind: str, found: Any) -> Label:
    if isinstance(found, str):
        return Label((Mark(found),))
    if isinstance(found, list):
        return Label(tuple(_mark(kind, one) for one in found))
    if not isinstance(found, dict) or not isinstance(found.get("values"), list):
        raise ValueError(f"the label {kind!r} is {found!r:.40}, expected a text, a list, or an object with `values`")
    source, error = found.get("source", CORPUS), found.get("error")
    if not isinstance(source, str) or isinstance(error, bool) or not isinstance(error, float | int | None):
        raise ValueError(
            f"the label {kind!r} has source {source!r:.40} and error {error!r:.40}, expected text and number"
        )
    marks = sorted((_mark(kind, one) for one in found["values"]), key=lambda mark: mark.start)
    return Label(tuple(marks), source, None if error is None else float(error))


def _mark(kind: str, found: Any) -> Mark:
    value, start = (found, 0) if isinstance(found, str) else (*found, 0)[:2] if isinstance(found, list) else (None, 0)
    if not isinstance(value, str) or not value.strip() or isinstance(start, bool) or not isinstance(start, int):
        raise ValueError(f"a value of the label {kind!r} is {found!r:.40}, expected [text, character]")
    return Mark(value, start)
