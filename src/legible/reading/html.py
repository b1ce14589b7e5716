"""Readings as a self-contained HTML page: the text tinted by score, then one row a token."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legible.page import number, render, write_page
from legible.reading.doubt import above_floor
from legible.reading.families import are_grouped, by_family
from legible.reading.reading import Reading

Span = tuple[int, int]  # the characters of a text that a token is; empty for special tokens
UNPARSED = "some words state no relation that the language knows"


def write_reading(path: Path, text: str, readings: Sequence[Reading], about: Mapping[str, Any]) -> None:
    """Write the report of one text to `path`, atomically."""
    write_page(path, "reading.html.j2", **_context(text, readings, about))


def reading_page(
    text: str,
    readings: Sequence[Reading],
    about: Mapping[str, Any],
    spans: Sequence[Span] | None = None,
    *,
    template: str = "reading.html.j2",
    **more: str,
) -> str:
    """The report of one text as HTML; every string a model wrote is escaped, acting characters are spelled out.

    Args:
        spans: where the readings' tokens stand; then they are marked in the whole text, which else stands beside them.
        template: may extend `reading.html.j2`.
        more: what it needs beside.
    """
    return render(template, **_context(text, readings, about, spans), **more)


def reading_rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """What a template needs of each reading."""
    grouped = are_grouped(readings)
    return [
        {
            "pos": reading.pos,
            "token": reading.token,
            "fve": reading.fve_token,
            "floor": reading.floor_fve,
            "share": above_floor(reading.fve_token, reading.floor_fve),
            "flags": reading.flags,
            "marks": None if reading.shown is None else reading.pieces(),
            "groups": by_family(reading) if grouped and reading.claims else None,
            "notes": reading.notes(),
            "trusted": reading.trusted(),
            "withheld": reading.withheld,
            "abstains": reading.abstains,
            "samples": reading.samples if reading.trust is None else (),
        }
        for reading in readings
    ]


def _strip(
    text: str, rows: Sequence[dict[str, Any]], spans: Sequence[Span] | None
) -> list[tuple[str, dict[str, Any] | None]]:
    """The text in pieces, each with its reading or None; without spans the tokens that were read alone."""
    if spans is None:
        return [(row["token"], row) for row in rows]
    pieces: list[tuple[str, dict[str, Any] | None]] = []
    at = 0
    for row, (start, end) in zip(rows, spans, strict=True):
        pieces += [(text[at:start], None)] if start > at else []
        pieces.append((text[max(at, start) : end] or row["token"], row))
        at = max(at, end)
    return [*pieces, (text[at:], None)] if at < len(text) else pieces


def _context(
    text: str, readings: Sequence[Reading], about: Mapping[str, Any], spans: Sequence[Span] | None = None
) -> dict[str, Any]:
    rows = reading_rows(readings)
    strip = _strip(text, rows, spans)
    told = "".join(piece for piece, row in strip if row is None or "special_token" not in row["flags"])
    counts = Counter(claim.verdict for reading in readings for claim in reading.claims)
    return {
        "text": text,
        "about": [(key.replace("_", " "), _shown(value)) for key, value in about.items() if value is not None],
        "readings": rows,
        "strip": strip,
        "whole": told.split() == text.split(),
        "decided": counts["true"] + counts["false"] + counts["open"] > 0,
        "counts": {verdict: counts[verdict] for verdict in ("true", "false", "open")},
        "trusted": any(reading.trusted() is not None for reading in readings),
        "trust": next((reading.trust for reading in readings if reading.trust is not None), None),
        "withheld": sum(reading.withheld for reading in readings),
        "abstaining": sum(reading.abstains for reading in readings),
        "missing": missing(readings),
        "reasons": reasons(readings),
    }


def reasons(readings: Sequence[Reading]) -> list[tuple[str, int]]:
    """Why readings have claims or words without p_true, with the number of readings, the most common first."""
    found = Counter(reading.p_true_reason for reading in readings if reading.p_true_reason)
    found.update(UNPARSED for reading in readings if reading.unparsed)
    return found.most_common()


def missing(readings: Sequence[Reading]) -> str:
    """What the `reasons` are for: no p_true at all, or none of some claims or words."""
    partly = any(claim.p_true is not None for reading in readings for claim in reading.claims)
    return "some claims or words without p_true" if partly else "no p_true"


def _shown(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else str(value)
