"""Readings as a self-contained HTML page: the text tinted by score, then one row a token."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legible.page import number, render, write_page
from legible.reading.doubt import above_floor
from legible.reading.reading import Reading


def write_reading(path: Path, text: str, readings: Sequence[Reading], about: Mapping[str, Any]) -> None:
    """Write the report of one text to `path`, atomically."""
    write_page(path, "reading.html.j2", **_context(text, readings, about))


def reading_page(
    text: str, readings: Sequence[Reading], about: Mapping[str, Any], *, template: str = "reading.html.j2", **more: str
) -> str:
    """The report of one text as HTML; every string a model wrote is escaped, acting characters are spelled out.

    `template` may extend `reading.html.j2`; `more` is what it needs beside.
    """
    return render(template, **_context(text, readings, about), **more)


def reading_rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """What a template needs of each reading."""
    return [
        {
            "pos": reading.pos,
            "token": reading.token,
            "fve": reading.fve_token,
            "floor": reading.floor_fve,
            "share": above_floor(reading.fve_token, reading.floor_fve),
            "flags": reading.flags,
            "marks": None if reading.shown is None else reading.pieces(),
            "notes": reading.notes(),
            "trusted": reading.trusted(),
            "withheld": reading.withheld,
            "abstains": reading.abstains,
            "samples": reading.samples if reading.trust is None else (),
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
        "trusted": any(reading.trusted() is not None for reading in readings),
        "trust": next((reading.trust for reading in readings if reading.trust is not None), None),
        "withheld": sum(reading.withheld for reading in readings),
        "abstaining": sum(reading.abstains for reading in readings),
        "reasons": reasons(readings),
    }


def reasons(readings: Sequence[Reading]) -> list[tuple[str, int]]:
    """Why readings have claims without p_true, with the number of readings, the most common first."""
    return Counter(reading.p_true_reason for reading in readings if reading.p_true_reason).most_common()


def _shown(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else str(value)
