"""A scan as lines for the terminal and as a self-contained page; computes nothing."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legible.display import visible
from legible.page import number, write_page

COLUMNS = (
    ("layer", "layer K: the residual stream after block K, counted from 0"),
    ("V", "variance of the activations' directions"),
    ("lookup", "FVE of the best guess from the last two tokens and the position"),
    ("left", "what the last tokens leave over: 1 - lookup, all where the lookup is worse than the mean"),
    ("facts", "FVE that facts of the text add to the lookup, or to the mean where that is better"),
    ("next", "FVE that the model's own five likeliest next tokens add to the same"),
    ("both", "FVE that both together add"),
    ("probes", "mean accuracy of probes over chance: 0 is chance, 1 is perfect"),
    ("best read", "the kind of fact that probes read best"),
    ("norm", "median length of an activation"),
    ("max/med", "longest over median"),
    ("outliers", "share of activations three times longer or shorter than the median"),
)


def scan_lines(report: Mapping[str, Any]) -> list[str]:
    """The table, what its columns mean, and the proposal."""
    rows = [[name for name, _ in COLUMNS], *(_cells(layer) for layer in report["layers"])]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += ["", *(f"{name:>9}: {meaning}" for name, meaning in COLUMNS[1:])]
    lines += [
        "",
        f"{report['rows']} tokens of {report['documents']} documents, seed {report['seed']}; fits are judged on",
    ]
    lines[-1] += " documents they have not seen, so a share may be below 0."
    if worse := worse_than_the_mean(report):
        lines += ["", worse]
    if left_out := not_read(report):
        lines += ["", *textwrap.wrap(left_out, 120)]
    proposal = report["proposal"]
    lines += ["", f"train at layer {proposal['layer']}: {proposal['reason']}"]
    return lines + ([f"  {visible(proposal['command'])}"] if proposal.get("command") else [])


def worse_than_the_mean(report: Mapping[str, Any]) -> str | None:
    """What to say where the documents were too few to fit the lookup; None where it is of use at every layer."""
    layers = [str(one["layer"]) for one in report["layers"] if one["lookup_fve"]["value"] < 0]
    if not layers:
        return None
    return (
        f"The lookup is worse than the mean at layer {', '.join(layers)}: fitted on {report['documents']} documents, "
        "the last tokens give\nno guess of use there. More documents may help: --documents."
    )


def not_read(report: Mapping[str, Any]) -> str | None:
    """What to say of the kinds of fact that these texts leave nothing to read of; None where there are none."""
    kinds = report.get("kinds")
    if kinds is None or not kinds["alike"] + kinds["undecided"]:
        return None
    said = (
        []
        if kinds["decided"]
        else ["No kind of fact differs from token to token here, so no facts are added and no probes fitted."]
    )
    if kinds["alike"]:
        said.append(f"The same at every token: {', '.join(kinds['alike'])}.")
    if kinds["undecided"]:
        said.append(
            f"Undecided, for want of labels (`legible.labels` of a document) or of continuations (a scan writes none): "
            f"{', '.join(kinds['undecided'])}."
        )
    return " ".join(said)


def write_scan(path: Path, report: Mapping[str, Any]) -> None:
    """Write the page, atomically."""
    write_page(
        path,
        "scan.html.j2",
        report=report,
        worse=worse_than_the_mean(report),
        not_read=not_read(report),
        columns=COLUMNS,
        table=[_cells(layer) for layer in report["layers"]],
        kinds=_kinds(report["layers"]),
    )


def _cells(layer: Mapping[str, Any]) -> list[str]:
    probes = layer["probes"]
    best = f"{probes['best']['kind']} {number(probes['best']['corrected'])}" if probes else "–"
    return [
        str(layer["layer"]),
        number(layer["variance"]),
        number(layer["lookup_fve"]["value"]),
        number(layer["left"]),
        *(number(layer[name]["value"] if layer[name] else None) for name in ("facts_add", "next_add", "named_add")),
        number(probes["mean_corrected"] if probes else None),
        best,
        number(layer["norm"]["median"], 1),
        number(layer["norm"]["max_over_median"], 1),
        f"{100 * layer['norm']['outlier_share']:.1f}%",
    ]


def _kinds(layers: list[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """For every kind of fact the probes' accuracy over chance at each layer; empty without labels."""
    if not all(layer["probes"] for layer in layers):
        return {}
    scores = [layer["probes"]["kinds"] for layer in layers]
    return {kind: [of_layer[kind]["corrected"]["value"] for of_layer in scores] for kind in scores[0]}
