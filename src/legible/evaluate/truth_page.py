"""The truth report for people: a self-contained page with its plots, and lines for the terminal.

Takes the object of `legible.evaluate.truth_report` and shows it; computes nothing but coordinates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.display import visible
from legible.evaluate.curves import BOTTOM, LEFT, RIGHT, TOP
from legible.evaluate.truth_evidence import ALONE
from legible.page import interval, number, write_page
from legible.stats import FEWEST, is_headline

WIDTH, HEIGHT = 320, 240
HEADLINES = (
    ("precision_at_half_coverage", "precision at half coverage", "context claims shown where coverage is still 0.5", 3),
    ("precision_at_0.8", "precision at trust 0.8", "of all claims, as --trust 0.8 shows them", 3),
    ("ece", "calibration error", "mean distance of p_true and precision, 15 bins", 3),
    ("brier_skill", "Brier skill", "over the base rate; 0 knows nothing more", 2),
    ("auroc", "AUROC", "a true claim above a wrong one; 0.5 is chance", 2),
    ("context_precision", "context precision", "of all claims not given away by the last 8 tokens", 3),
    ("context_claims_per_reading", "context claims", "a reading", 2),
    ("recall", "recall", "of what probes can decode, all claims", 3),
    ("foresight", "foresight", "agreement with the target's own later choice", 2),
    ("unparsed_words", "unparsed words", "of the explanations, no relation could be read from them", 3),
)
"""(key, name, what it is, digits shown)"""
PARTS = (
    ("claims", "claims", 0), ("precision", "precision", 3), ("mean_p_true", "mean p_true", 3), ("ece", "ECE", 3),
    ("all_claims", "all claims", 0), ("all_precision", "all precision", 3), ("decodable", "decodable", 0),
    ("recall", "recall", 3),
)  # fmt: skip
"""(key, column, digits shown)"""


SOURCES = (
    ("precision_at_0.8", "precision at 0.8", 3), ("ece", "ECE", 3), ("brier_skill", "Brier skill", 2),
    ("auroc", "AUROC", 2),
)  # fmt: skip
"""(key, column, digits shown)"""


def write_truth(path: Path, report: Mapping[str, Any]) -> None:
    """Write the page, atomically."""
    write_page(path, "truth.html.j2", **_context(report))


def truth_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as lines for the terminal: one table a part, then the summary with intervals."""
    lines = [*_table("kind", report["kinds"]), "", *_table("position", report["positions"]), ""]
    for key, label, _, digits in HEADLINES:
        lines.append(f"{label:28} {_shown(report, key, digits)}")
        if key == "precision_at_half_coverage" and report[key] is not None:
            lines.append(f"{'  at p_true of at least':28} {number(report['threshold_at_half_coverage'], 3)}")
        if key == "ece" and report[key] is not None:
            lines.append(f"{'  always the base rate':28} {number(report['ece_base_rate'], 3)}")
    abstention = report["abstention"]
    lines.append(f"{'open facts left alone':28} {interval(abstention['open_left_alone'])}")
    lines.append(f"{'readings without a claim':28} {number(abstention['silent_readings'])}")
    lines += ["", *_sources(report), ""]
    if report["judge"] is not None:
        lines += _judge_lines(report["judge"])
    for reason in dict.fromkeys(report["reasons"].values()):
        keys = [key for key, given in report["reasons"].items() if given == reason]
        lines.append(f"no {', '.join(keys)}: {visible(reason)}")
    if (fitted := report["calibrator"]) is not None:
        lines.append(
            f"p_true from the {fitted['mode']} calibrator, fitted on {fitted['claims']} claims of "
            f"{fitted['documents']} documents (split {fitted['split']}, seed {fitted['seed']})"
        )
    lines.append(
        f"{report['mode']} ({report['samples']} samples per reading), verdicts: {report['verdicts'] or 'none'}, "
        f"{report['rows']} rows of {report['documents']} documents ({report['documents_of']}), "
        f"seed {report['seed']}, commit {report['commit']}"
    )
    return lines


def sources(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The scores of p_true on all claims by where it comes from: the checkpoint's own first; none without claims."""
    of_calibrator = {"the calibrator": report["all_claims"]} if report["all_claims"]["n"] else {}
    return of_calibrator | {
        (f"{name} alone" if name in ALONE else name): row for name, row in report["evidence"].items() if row is not None
    }


def _sources(report: Mapping[str, Any]) -> list[str]:
    figures = sources(report)
    lines = [f"{'p_true, all claims':18}" + "".join(f"{label:>24}" for _, label, _ in SOURCES)] if figures else []
    return lines + [
        f"{name:18}" + "".join(f"{interval(row['intervals'][key], digits):>24}" for key, _, digits in SOURCES)
        for name, row in figures.items()
    ]


def _judge_lines(judge: Mapping[str, Any]) -> list[str]:
    failed = ", ".join(f"{count} {visible(reason)}" for reason, count in judge["failed"].items()) or "none"
    agreement = judge["agreement"]
    return [
        f"{'judge':28} {visible(judge['name'])}: {judge['decided']} of {judge['claims']} claims decided, "
        f"{judge['none']} no statement; without a verdict: {failed}",
        f"{'  agreement with known facts':28} {interval(agreement)}, n {agreement['n']} ({agreement['on']}); "
        f"it calls true {number(agreement['true_accepted'])} of the true claims, "
        f"{number(agreement['wrong_accepted'])} of the wrong",
    ]


def _table(first: str, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [f"{first:12}" + "".join(f"{label:>14}" for _, label, _ in PARTS)]
    lines += [
        f"{visible(name):12}" + "".join(f"{number(part[key], digits):>14}" for key, _, digits in PARTS)
        for name, part in parts.items()
    ]
    return lines


def _shown(report: Mapping[str, Any], key: str, digits: int) -> str:
    figure = report["intervals"].get(key)
    if figure is None or report[key] is None:
        return "–"
    few = "" if is_headline(figure) else f", too few to go by (under {FEWEST})"
    return f"{interval(figure, digits)}  n {figure['n']}{few}"


@dataclass(frozen=True)
class Frame:
    """A plot's axes: the ranges that its inside spans."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, value: float) -> float:
        """The SVG x of a value, kept inside."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * _share(value, self.x), 1)

    def up(self, value: float) -> float:
        """The SVG y of a value, kept inside."""
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, self.y), 1)

    def line(self, points: Sequence[tuple[float, float]]) -> str:
        """The points of a polyline."""
        return " ".join(f"{self.across(x)},{self.up(y)}" for x, y in points)


def reliability_plot(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The reliability diagram: a dot a bin with the interval of its precision, and the diagonal; None without bins."""
    bins = report["reliability"]
    if not bins:
        return None
    low = _floor(min(min(one["p_true"], one["precision"]) for one in bins))
    frame = Frame((low, 1.0), (low, 1.0))
    return {
        "frame": frame,
        "diagonal": frame.line([(low, low), (1.0, 1.0)]),
        "line": frame.line([(one["p_true"], one["precision"]) for one in bins]),
        "dots": [
            {
                "x": frame.across(one["p_true"]),
                "y": frame.up(one["precision"]),
                "low": frame.up(one["precision_low"]),
                "high": frame.up(one["precision_high"]),
            }
            for one in bins
            if one["precision_low"] is not None
        ],
    }


def curve_plot(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Precision against coverage, or against the share of claims shown where nothing is known to be decodable."""
    points = [point for point in report["curve"] if point["precision"] is not None]
    if not points:
        return None
    key = "coverage" if points[0]["coverage"] is not None else "claims"
    whole = 1.0 if key == "coverage" else max(point["claims"] for point in points)
    series = [(point[key] / whole, point["precision"]) for point in points]
    frame = Frame((0.0, 1.0), (_floor(min(y for _, y in series)), 1.0))
    half = report["precision_at_half_coverage"]
    return {
        "frame": frame,
        "line": frame.line(series),
        "against": "coverage" if key == "coverage" else "share of the claims shown",
        "half": None if half is None else {"x": frame.across(0.5), "y": frame.up(half)},
    }


def _context(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "report": report,
        "headlines": [
            {"label": label, "what": what, "shown": _shown(report, key, digits), "value": report[key], "digits": digits,
             "few": report[key] is not None and not is_headline(report["intervals"][key])}
            for key, label, what, digits in HEADLINES
        ],
        "parts": PARTS,
        "sources": sources(report),
        "source_columns": SOURCES,
        "reliability": reliability_plot(report),
        "curve": curve_plot(report),
    }  # fmt: skip


def _share(value: float, ends: tuple[float, float]) -> float:
    return min(1.0, max(0.0, (value - ends[0]) / (ends[1] - ends[0])))


def _floor(value: float) -> float:
    """The next tenth below, at most 0.9, so that an axis to 1 has room."""
    return min(0.9, max(0.0, int(value * 10) / 10))
