"""Readings as a self-contained HTML page: the text tinted by score, then one row a token."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legible.analysis.read import Reading
from legible.evaluate.marks import marked
from legible.page import number, render, write_page


def write_reading(path: Path, text: str, readings: Sequence[Reading], about: Mapping[str, Any]) -> None:
    """Write the report of one text to `path`, atomically."""
    write_page(path, "reading.html.j2", **_context(text, readings, about))


def reading_page(text: str, readings: Sequence[Reading], about: Mapping[str, Any]) -> str:
    """The report of one text as HTML; every string a model wrote is escaped, acting characters are spelled out."""
    return render("reading.html.j2", **_context(text, readings, about))


def reading_rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """What a template needs of each reading."""
    return [
        {
            "pos": reading.pos,
            "token": reading.token,
            "fve": reading.fve_token,
            "flags": reading.flags,
            "marks": None if reading.explanation is None else marked(reading.explanation, reading.decided()),
            "samples": reading.samples,
        }
        for reading in readings
    ]


def _context(text: str, readings: Sequence[Reading], about: Mapping[str, Any]) -> dict[str, Any]:
    counts = Counter(claim.verdict for reading in readings for claim in reading.claims)
    return {
        "text": text,
        "about": [(key.replace("_", " "), _shown(value)) for key, value in about.items() if value is not None],
        "readings": reading_rows(readings),
        "decided": counts["true"] + counts["false"] + counts["open"] > 0,
        "counts": {verdict: counts[verdict] for verdict in ("true", "false", "open")},
    }


def _shown(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else str(value)
