"""Readings as Markdown: one table a text, every string of a model or a file escaped, doubtful claims withheld."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from legible.display import probability, visible
from legible.page import number
from legible.reading.families import SILENT, are_grouped, by_family
from legible.reading.marks import GAP, withheld
from legible.reading.reading import Reading

_MARKS = re.compile(r"[\\`*_{}\[\]()#+!|~@]|(?<=www)\.|:(?=//)")


def escaped(text: str) -> str:
    r"""One line of plain text that no Markdown or HTML reader takes for anything else.

    Example:
        >>> escaped("*a* <b>")
        '\\*a\\* &lt;b&gt;'
    """
    shown = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(lambda match: "\\" + match[0], shown)


def reading_markdown(text: str, readings: Sequence[Reading], about: Mapping[str, Any], title: str = "Reading") -> str:
    """One text's readings: what read it, the text, and a row a token."""
    lines = [f"# {escaped(title)}", ""]
    lines += [
        f"- {escaped(key.replace('_', ' '))}: {_value(value)}" for key, value in about.items() if value is not None
    ]
    lines += ["", "> " + escaped(text), ""]
    lines += ["| pos | token | explanation | trust | FVE | floor | flags |", "|---:|---|---|---:|---:|---:|---|"]
    grouped = are_grouped(readings)
    return "\n".join([*lines, *(_row(reading, grouped) for reading in readings)]) + "\n"


def _row(reading: Reading, grouped: bool) -> str:
    if reading.explanation is None:
        words = "(no explanation came out)"
    elif reading.shown is None:
        words = "(abstains)"
    else:
        notes = reading.notes()
        said = _families(reading) if grouped and reading.claims else escaped(reading.plain())
        words = " ".join(filter(None, (said, f"({escaped(notes)})" if notes else "")))
    trusted = reading.trusted()
    trust = "–" if trusted is None else "/".join(map(probability, trusted))
    scores = f"{number(reading.fve_token)} | {number(reading.floor_fve)}"
    flags = escaped(" ".join(reading.flags))
    return f"| {reading.pos} | {escaped(reading.token)} | {words} | {trust} | {scores} | {flags} |"


def _families(reading: Reading) -> str:
    """The claims a line a family, doubtful ones withheld."""
    lines = []
    for label, claims, marked in by_family(reading):
        said = escaped("".join(piece.text for piece in withheld(marked)))
        lines.append(f"*{label}:* {said or (GAP if claims else SILENT)}")
    return "<br>".join(lines)


def _value(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else escaped(str(value))
