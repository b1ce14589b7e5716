"""The report of a run or an evaluation: a self-contained page, and lines for the terminal.

Takes the object of `legible.evaluate.run` (with what a run adds beside it) and shows it; computes nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legible.evaluate.apart_lines import FAMILY_HEAD, apart_lines, family_rows, retrieval_rows, twin_rows
from legible.evaluate.battery.table import control_lines
from legible.evaluate.controls import FLOORS
from legible.evaluate.curves import training_curves
from legible.page import interval, number, write_page
from legible.reading.html import reading_rows
from legible.reading.saved import reading_of
from legible.stats import FEWEST, is_headline

REFERENCES = {
    "teacher_text": "the teacher's own text, read by the reconstructor",
    "teacher_text_limited": "the same, limited to what probes find",
    "true_facts": "ridge from the true facts",
    "true_facts_and_tokens": "ridge from the true facts and the last tokens",
    "probes": "ridge from what probes read in the activation",
}
HEADLINES = (
    ("context_precision", "context precision", "claims not given away by the last 8 tokens that are true"),
    ("context_claims_per_reading", "context claims", "a reading"),
    ("context_lift", "context lift", "over a verbalizer given no activation"),
    ("recall", "recall", "of what probes can decode"),
    ("foresight", "foresight", "agreement with the target's own later choice"),
)


CARRIED = (
    ("matched_minus_mismatched", "matched minus mismatched", "cosine with the own activation over other documents'"),
    ("kl_recovered", "KL recovered", "of what the mean in its place costs the target's next token"),
)


def write_report(path: Path, report: Mapping[str, Any], run: Path | None = None) -> None:
    """Write a report page, atomically.

    Args:
        path: the HTML file.
        report: the evaluation's object; `target`, `sft`, `rl`, `config` and `readings` are shown where they are there.
        run: a run's directory, for its training curves.
    """
    write_page(path, "run.html.j2", **_context(report, run))


def score_lines(report: Mapping[str, Any]) -> list[str]:
    """How well the words carry the activations and how true they are: the last lines of a run."""
    claims = report.get("claims") or {}
    lines = [f"{'FVE':28} {interval(report['fve'])}", f"{'context FVE':28} {interval(report['context_fve'])}"]
    for key, label in (("precision", "precision"), ("context_precision", "context precision")):
        if claims.get(key) is not None:
            lines.append(f"{label:28} {interval(claims[key])}{_few(claims[key])}")
    lines += _family_lines(report)
    if not claims:
        lines.append(f"{'precision':28} – (these claims are not judged)")
    return [*lines, _measured_on(report), *apart_lines(report)]


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """The evaluation in a few lines for the terminal."""
    lines = [f"{'FVE':28} {interval(report['fve'])}", f"{'context FVE':28} {interval(report['context_fve'])}"]
    lines += [f"{label:28} {interval(value)}, n {value['n']}" for label, value, _ in _carried(report)]
    lines += [f"{'  floor: ' + name:28} {interval(value)}" for name, value in _with_intervals(report, "floor")]
    lines += [f"{'  reference: ' + name:28} {interval(value)}" for name, value in _with_intervals(report, "reference")]
    lines += [f"{label:28} {interval(value)}{_few(value)}" for label, value, _ in _headlines(report)]
    lines += _family_lines(report)
    lines.append(f"{'parse failures':28} {report['parse_failures']} of {report['rows']} rows")
    lines.append(f"{'mean tokens':28} {number(report['mean_tokens'], 1)}")
    return [*lines, _measured_on(report), *apart_lines(report), *control_lines(report)]


def _family_lines(report: Mapping[str, Any]) -> list[str]:
    """Truth by family, where a language has several; reports of earlier versions have none."""
    families = (report.get("claims") or {}).get("families", {})
    return [
        f"{'  precision: ' + family:28} {interval(one['precision'])}, n {one['precision']['n']}; without an activation "
        f"{number(one['no_activation']['value'])}"
        + (f"; {one['undecided']} undecided claims" if one["undecided"] else "")
        for family, one in (families.items() if len(families) > 1 else ())
    ]


def _measured_on(report: Mapping[str, Any]) -> str:
    fve = report["fve"]
    return f"n {fve['n']} rows of {fve['documents']} documents, seed {report['seed']}, commit {report['commit']}"


def target_lines(report: Mapping[str, Any]) -> list[str]:
    """What a target holds, in a few lines for the terminal."""
    lines = [f"{'kind':12} {'accuracy':>8} {'chance':>7}  over chance"]
    for kind, score in report["kinds"].items():
        lines.append(
            f"{kind:12} {number(score['accuracy']):>8} {number(score['chance']):>7}  {interval(score['corrected'])}"
        )
    lines.append(f"mean over chance {number(report['mean_corrected'])}")
    for key in ("lookup_fve", "facts_add", "known_facts_add", "lookup_and_facts_fve"):
        lines.append(f"{key:22} {interval(report[key])}")
    loss = report["loss"]
    lines.append(
        f"loss {number(loss['nats_per_token'], 3)} nats per token; the generator's entropy "
        f"{number(loss['entropy_per_token'], 3)}"
    )
    return lines


def _context(report: Mapping[str, Any], run: Path | None) -> dict[str, Any]:
    claims = report.get("claims") or {}
    return {
        "report": report,
        "carried": _carried(report),
        "headlines": [(*item, _few(item[1])) for item in _headlines(report)],
        "floors": [
            {"name": name, "what": FLOORS[name].what, "fve": value, "gain": report.get("gains", {}).get(name)}
            for name, value in _with_intervals(report, "floor")
        ],
        "references": [
            {"name": name, "what": REFERENCES.get(name, ""), "fve": value}
            for name, value in _with_intervals(report, "reference")
        ],
        "kinds": {kind: row for kind, row in claims.get("kinds", {}).items() if row["claims"] or row["decodable"]},
        "family_head": FAMILY_HEAD,
        "families": family_rows(report),
        "retrieval": retrieval_rows(report),
        "twins": twin_rows(report),
        "target": report.get("target"),
        "sft": report.get("sft"),
        "rl": report.get("rl"),
        "curves": training_curves(run) if run is not None else [],
        "readings": reading_rows([reading_of(reading) for reading in report.get("readings", ())]),
        "config": json.dumps(report["config"], indent=1, ensure_ascii=False) if report.get("config") else None,
    }


def _with_intervals(report: Mapping[str, Any], which: str) -> list[tuple[str, Any]]:
    known = report.get(f"{which}_intervals", {})
    return [(name, known.get(name, value)) for name, value in report[f"{which}s"].items()]


def _carried(report: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """The figures beside FVE; reports of earlier versions have none."""
    return [(label, report[key], what) for key, label, what in CARRIED if report.get(key) is not None]


def _headlines(report: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    claims = report.get("claims") or {}
    return [(label, claims[key], what) for key, label, what in HEADLINES if claims.get(key) is not None]


def _few(value: Mapping[str, Any]) -> str:
    """What to say of a figure of too few cases; nothing of others."""
    return "" if is_headline(value) else f", n {value['n']}: too few to go by (under {FEWEST})"
