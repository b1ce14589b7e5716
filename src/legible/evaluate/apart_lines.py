"""Families of claims, retrieval and twins of a report: lines for the terminal, rows for the report page.

Reports in which they were not measured have none.
"""

from collections.abc import Mapping
from typing import Any

from legible.evaluate.trust_metrics import AT_TRUST, TRUST
from legible.page import interval, number

FAMILY_HEAD = (
    "family", "claims", f"precision at {TRUST}", "at half coverage", "calibration error", "AUROC", "shown per reading",
    "text only", "no activation",
)  # fmt: skip
RETRIEVALS = {
    "context": "the reading, among prefixes before the same last 8 tokens",
    "context_without_next_and_now": "the same without its statements on next and last tokens",
    "teacher": "the teacher's text",
    "teacher_without_next_and_now": "the same without its statements on next and last tokens",
    "last8": "the last 8 tokens run alone",
    "same_token": "the reading, among documents at the same token",
    "same_token_last8": "the last 8 tokens run alone, among documents at the same token",
}
_WIDTHS = (8, 6, 20, 20, 20, 20, 18, 20, 20)


def family_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a family, as cells under `FAMILY_HEAD`."""
    keys = (AT_TRUST, "precision_at_half_coverage", "ece", "auroc", "shown_per_reading", "text_only", "no_activation")
    return [
        (family, str(one["n"]), *(interval(one[key]) for key in keys))
        for family, one in report.get("families", {}).items()
    ]


def retrieval_rows(report: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What was looked for, and the share that was found."""
    shares = report.get("retrieval", {})
    return [(what, shares[key]) for key, what in RETRIEVALS.items() if shares.get(key) is not None]


def twin_rows(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The kinds of which twins were read."""
    return [(kind, one) for kind, one in report.get("twins", {}).items() if one["n"]]


def apart_lines(report: Mapping[str, Any]) -> list[str]:
    """All of it in lines for the terminal."""
    rows = family_rows(report)
    lines = ["", *(_line(row) for row in (FAMILY_HEAD, *rows))] if rows else []
    retrieved = retrieval_rows(report)
    if retrieved:
        lines += ["", f"reconstructions nearest to their own activation of {report['retrieval']['candidates']}"]
        lines += [f"  {interval(value):20} {what}, n {value['n']}" for what, value in retrieved]
    pairs = twin_rows(report)
    if pairs:
        lines += ["", "twins: pairs of texts with the same last 8 tokens told apart by their label"]
        lines += [
            f"  {kind:12} {interval(one['told_apart']):20} n {one['n']}; the probe tells "
            f"{number(one['probe']['value'])} of {one['probe']['n']} apart"
            for kind, one in pairs
        ]
    return lines


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
