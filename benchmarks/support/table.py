"""How a benchmark shows its rows: a Markdown table, then one JSON line."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from legible.contract import git_commit
from legible.fileio import finite, write_text
from legible.recipes.record import machine


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, one line per row."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def conclude(table: str, figures: Mapping[str, Any], path: Path | None) -> None:
    """Print the table and the JSON line; the table also to `path`."""
    print(table)
    if path is not None:
        write_text(path, table)
    last_line(figures)


def last_line(figures: Mapping[str, Any]) -> None:
    """Print what was measured as one JSON line, with commit, machine and its load."""
    origin = {"commit": git_commit(), "machine": machine(), "load": os.getloadavg()[0]}
    print(json.dumps(finite({**figures, **origin}), default=str))


def shown(value: Mapping[str, Any] | None, sign: str = "", digits: int = 3) -> str:
    """An interval as `value [low, high]`; empty where there is none, such as the first row's own difference."""
    if value is None or finite(value["value"]) is None:
        return ""
    numbers = (value[key] for key in ("value", "low", "high"))
    return "{0:{3}.{4}f} [{1:{3}.{4}f}, {2:{3}.{4}f}]".format(*numbers, sign, digits)
