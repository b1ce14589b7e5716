"""The battery as a table: lines for the terminal, cells for the report page."""

from collections.abc import Mapping, Sequence
from typing import Any

from legible.display import visible
from legible.page import interval

HEAD = ("control", "FVE", "context FVE", "reading minus it", "context precision", "claims", "stays")

GUIDE = (
    "A row rules out its doubt where 'reading minus it' is above 0, or, where the claims are kept, nearly all stays."
)


def control_lines(report: Mapping[str, Any]) -> list[str]:
    """The table in lines, the reading first; under every control what it rules out. Empty without a battery."""
    controls: Sequence[Mapping[str, Any]] = report.get("controls") or ()
    if not controls:
        return []
    claims = report.get("claims") or {}
    reading = {
        "name": "the reading",
        "fve": report["fve"],
        "context_fve": report["context_fve"],
        "context_precision": claims.get("context_precision"),
        "context_claims_per_reading": claims.get("context_claims_per_reading"),
    }
    lines = ["", GUIDE, _line(HEAD), _line(_cells(reading))]
    for control in controls:
        lines.append(_line(_cells(control)))
        lines.append(f"    rules out {control['rules_out']}")
        if control["note"]:
            lines.append(f"    {visible(control['note'])}")
    return lines


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    claims = row.get("context_claims_per_reading")
    return (
        row["name"].replace("_", " "),
        interval(row["fve"]),
        interval(row["context_fve"]),
        interval(row.get("difference")),
        interval(row.get("context_precision")),
        interval(claims["value"] if claims else None, 1),
        interval(row.get("retention")),
    )


def _line(cells: Sequence[str]) -> str:
    widths = (22, 20, 20, 20, 20, 6, 20)
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
