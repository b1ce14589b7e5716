"""The report on instruments as tables: lines for the terminal, cells for the page. Computes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legible.display import visible
from legible.page import interval, number, write_page

GUIDE = (
    "All on the same rows by the same judge. Equal recall: as many of the surest claims as it takes to have the pair's "
    "number of true ones."
)
CARRIED_HEAD = (
    "instrument", "role", "FVE", "centred cosine", "KL recovered", "context retrieval", "matched − mismatched",
    "given back by", "CPU s per token", "CPU s to train", "labels", "texts",
)  # fmt: skip
CLAIMS_HEAD = ("instrument", "claims", "per reading", "precision", "at equal recall", "reached", "AUROC", "ECE")
TWINS_HEAD = ("instrument", "label", "pairs", "told apart")
_CARRIED = ("fve", "centered_cosine", "kl_recovered", "retrieval", "matched_minus_mismatched")


def carried_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What each instrument gives back, and what it costs; cells under `CARRIED_HEAD`."""
    return [
        (
            row["name"], row["role"], *(interval(row[key]) for key in _CARRIED), row["reconstructed_by"] or "–",
            number(row["cpu_s_per_token"], 4), number(row["train_cpu_s"], 1),
            _count(row["labels"]), _count(row["texts"]),
        )
        for row in report["instruments"]
    ]  # fmt: skip


def claim_tables(report: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """A table for the context claims, then for each family that is claimed; cells under `CLAIMS_HEAD`."""
    rows = [row for row in report["instruments"] if row["families"] is not None]
    if not rows:
        return []
    found = [
        ("context claims: those that the last 8 tokens do not give away", [(r, r["context_claims"]) for r in rows])
    ]
    found += [(f"family {family}", [(row, row["families"][family]) for row in rows]) for family in rows[0]["families"]]
    return [(title, [_claims(row, one) for row, one in each if one["n"]]) for title, each in found]


def twin_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The twins that were read; cells under `TWINS_HEAD`."""
    return [
        (row["name"], kind, str(one["n"]), interval(one["told_apart"]))
        for row in report["instruments"]
        for kind, one in (row["twins"] or {}).items()
        if one["n"]
    ]


def notes(report: Mapping[str, Any]) -> list[str]:
    """What could not be measured, and why."""
    return [f"{row['name']}: {row['note']}" for row in report["instruments"] if row["note"]]


def rival_lines(report: Mapping[str, Any]) -> list[str]:
    """The report in lines for the terminal."""
    lines = [GUIDE, "", *_table(CARRIED_HEAD, carried_rows(report))]
    for title, rows in claim_tables(report):
        lines += ["", title, *(_table(CLAIMS_HEAD, rows) if rows else ["  no instrument claims anything of it"])]
    if twins := twin_rows(report):
        lines += ["", "twins: pairs of texts with the same last 8 tokens", *_table(TWINS_HEAD, twins)]
    lines += ["", *(visible(note) for note in notes(report))]
    return [*lines, f"n {report['rows']} rows of {report['documents']} documents, seed {report['seed']}, "
                    f"commit {report['commit']}"]  # fmt: skip


def write_rivals(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as a page, atomically."""
    write_page(
        path, "rivals.html.j2", report=report, carried_head=CARRIED_HEAD, carried=carried_rows(report),
        claims_head=CLAIMS_HEAD, claims=claim_tables(report), twins_head=TWINS_HEAD, twins=twin_rows(report),
        notes=notes(report),
    )  # fmt: skip


def _claims(row: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"], str(one["n"]), number(one["per_reading"]["value"], 1), interval(one["precision"]),
        interval(one["precision_at_equal_recall"]), number(one["reached"]),
        interval(one["auroc"]), interval(one["ece"]),
    )  # fmt: skip


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
