"""Readings as Markdown: one table a text, every string of a model or a file escaped, doubtful claims withheld."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from legible.display import probability, visible
from legible.page import number
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
    return "\n".join([*lines, *map(_row, readings)]) + "\n"


def _row(reading: Reading) -> str:
    if reading.explanation is None:
        words = "(no explanation came out)"
    elif reading.shown is None:
        words = "(abstains)"
    else:
        notes = reading.notes()
        words = " ".join(filter(None, (escaped(reading.plain()), f"({escaped(notes)})" if notes else "")))
    trusted = reading.trusted()
    trust = "–" if trusted is None else "/".join(map(probability, trusted))
    scores = f"{number(reading.fve_token)} | {number(reading.floor_fve)}"
    flags = escaped(" ".join(reading.flags))
    return f"| {reading.pos} | {escaped(reading.token)} | {words} | {trust} | {scores} | {flags} |"


def _value(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else escaped(str(value))
