"""Every layer of a model in one pass: what its last tokens leave over, and what of that words could say.

For each layer K, on the same tokens: V; the FVE of the token lookup; what known facts and the target's own likeliest
next tokens add to it (ridges beside the tokens); how well probes read each kind of fact; and how long the activations
are. Everything fitted is judged on documents it has not seen (cross-fitted by document), so a figure may fall below
zero, and all of them rise with the number of rows: compare layers, not models. Where a lookup fitted on few documents
is worse than the mean of the activations, the mean takes its place: so no share is above 1. Nothing is trained.

Kinds of fact that these texts do not decide, or decide alike at every token, have nothing to read and are left out; the
result lists them. The target writes no continuations here, so what these decide is undecided.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.config import CaptureConfig
from legible.data.capture import Progress, capture
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.reconstruction import Misses, as_misses, fve_gain, fve_of
from legible.evaluate.sample import Sample
from legible.languages.base import Language
from legible.models.target import Target
from legible.probes.lookup import FactRidge, TokenLookup, fact_names
from legible.probes.probes import UNDECIDED, Labels, ProbeSet
from legible.stats import Interval, fold_of
from legible.vectors import direction_mse, norm_outliers, variance

FOLDS = 3
NEXT_TOKENS = 5
SCAN_CAPTURE = CaptureConfig(positions_per_doc=24, min_pos=24, max_tokens=256, sentence_end_share=0.2)
"""Which tokens a scan reads by default: many of few documents, since one forward pass costs more than the fits."""


@dataclass(frozen=True)
class LayerScan:
    """What one layer holds. Shares are of V; `facts_add`, `named_add` and `probes` are None where no labels tell rows
    apart.

    What is added is added to the lookup, or to the mean (FVE 0) where the lookup is worse.
    """

    layer: int
    variance: float
    lookup_fve: Interval
    facts_add: Interval | None
    next_add: Interval
    named_add: Interval | None  # facts and next tokens together
    probes: ProbeSet | None
    norm_median: float
    norm_max: float  # over the median
    outliers: float  # share of the rows

    @property
    def named(self) -> Interval:
        """What words beyond the last tokens add: facts and next tokens, or next tokens alone without labels."""
        return self.next_add if self.named_add is None else self.named_add

    @property
    def left(self) -> float:
        """What the last tokens leave over, in [0, 1]."""
        return 1.0 - max(0.0, self.lookup_fve.value)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        intervals = {"facts_add": self.facts_add, "next_add": self.next_add, "named_add": self.named_add}
        return {
            "layer": self.layer,
            "variance": self.variance,
            "lookup_fve": self.lookup_fve.as_dict(),
            "left": self.left,
            **{name: None if interval is None else interval.as_dict() for name, interval in intervals.items()},
            "probes": None if self.probes is None else self._probes(self.probes),
            "norm": {"median": self.norm_median, "max_over_median": self.norm_max, "outlier_share": self.outliers},
        }

    def _probes(self, probes: ProbeSet) -> dict[str, Any]:
        best = max(probes.scores, key=lambda kind: probes.scores[kind].corrected.value)
        return {
            "mean_corrected": probes.mean_corrected(),
            "best": {"kind": best, "corrected": probes.scores[best].corrected.value},
            "kinds": probes.report(),
        }


def scan(
    target: Target,
    documents: Sequence[Document],
    language: Language | None,
    *,
    layers: Sequence[int] | None = None,
    config: CaptureConfig = SCAN_CAPTURE,
    progress: Callable[[str, int], Progress] | None = None,
) -> dict[str, Any]:
    """Compare layers of a target.

    Args:
        target: the model.
        documents: at least a few dozen; ten or more tokens of each are read.
        language: labels the tokens with facts; None for text whose facts are unknown.
        layers: which layers K; absent: all.
        config: which positions, and the seed of positions and folds; its layers, predictions and dtype are set here.
        progress: makes a callback of (done, total) from a label and a total.

    Returns:
        `layers` (see `LayerScan.as_dict`), `rows`, `documents`, `labels` (the language's name), `kinds` (its kinds that
        probes could read: `decided`, `alike` at every token, and `undecided`; null without a language), `positions`,
        `seed`, `folds`, and `proposal` {`layer`, `reason`, `ranking`: all layers, the best first}.

    Raises:
        UsageError: a layer out of range, too few or too short documents, or labels that know no fact of this text.
    """
    chosen = tuple(range(target.n_layers)) if layers is None else tuple(layers)
    settings = {"layers": chosen, "predictions": NEXT_TOKENS, "dtype": "bfloat16"}  # float16 may overflow
    settings["certainty"] = language is not None and bool(language.captured.get("certainty"))
    config = config.model_copy(update=settings)
    report = progress or (lambda _label, _total: lambda _done, _other: None)
    with tempfile.TemporaryDirectory(prefix="legible-scan-") as folder:
        store = capture(target, documents, config, Path(folder) / "store", progress=report("capture", len(documents)))
        sample = replace(Sample.of_store(store, chosen[0], language), vectors=torch.empty(0))
        fold = _folds(sample.doc_ids, config.seed)
        show = report("layers", len(chosen))
        show(0, len(chosen))
        layers_scanned = []
        for number, layer in enumerate(chosen):
            vectors = store.vectors(range(len(store)), layer)
            layers_scanned.append(scan_layer(replace(sample, vectors=vectors), layer, fold, language, config.seed))
            show(number + 1, len(chosen))
    return {
        "layers": [one.as_dict() for one in layers_scanned],
        "rows": len(sample),
        "documents": len(set(sample.doc_ids)),
        "labels": language.name if language is not None else None,
        "kinds": decided_kinds(sample, language) if language is not None else None,
        "positions": config.positions_text(),
        "seed": config.seed,
        "folds": FOLDS,
        "proposal": propose(layers_scanned, target.n_layers),
    }


def scan_layer(sample: Sample, layer: int, fold: np.ndarray, language: Language | None, seed: int = 0) -> LayerScan:
    """What the sample's activations of one layer hold.

    Args:
        sample: rows with their target's next tokens, and facts where there is a language.
        layer: which layer they are of.
        fold: the fold of every row.
        language: whose facts they are.
        seed: of probes and of the documents that choose ridges.

    Raises:
        UsageError: a language that knows no fact of these rows.
    """
    named: dict[str, list[list[str]]] = {"next": [[f"next={token}" for token in r.predictions] for r in sample.rows]}
    probes = None
    if language is not None:
        labels = _telling(sample, language)
        if kinds := set(labels) - set(language.target_kinds):  # facts of the text; the target's are its next tokens
            named["facts"] = fact_names(sample.facts, kinds=kinds)
            named["both"] = [a + b for a, b in zip(named["facts"], named["next"], strict=True)]
        if labels:
            probes = ProbeSet.fit(
                sample.vectors, labels, sample.doc_ids, seed=seed, folds=FOLDS, most_values=language.most_values
            )
    v = variance(sample.vectors)
    lookup, missed = _cross_fitted(sample, named, fold, seed)
    lookup_fve = fve_of(lookup, v, sample.doc_ids)
    floor = lookup if lookup_fve.value >= 0 else np.full_like(lookup, v)
    gain = {name: fve_gain(miss, floor, v, sample.doc_ids) for name, miss in missed.items()}
    norms = sample.vectors.norm(dim=-1)
    return LayerScan(
        layer=layer,
        variance=v,
        lookup_fve=lookup_fve,
        facts_add=gain.get("facts"),
        next_add=gain["next"],
        named_add=gain.get("both"),
        probes=probes,
        norm_median=float(norms.median()),
        norm_max=float(norms.max() / norms.median()),
        outliers=float(norm_outliers(norms).float().mean()),
    )


def decided_kinds(sample: Sample, language: Language) -> dict[str, list[str]]:
    """The kinds that probes could read: `decided`, `alike` at every row that decides them, and `undecided`."""
    known, telling = sample.labels(language), _telling(sample, language)
    return {
        "decided": [kind for kind in language.probe_kinds if kind in telling],
        "alike": [kind for kind in language.probe_kinds if kind in known and kind not in telling],
        "undecided": [kind for kind in language.probe_kinds if kind not in known],
    }


def _telling(sample: Sample, language: Language) -> Labels:
    """The labels of the kinds in which rows differ.

    Raises:
        UsageError: nothing at all is decided.
    """
    known = sample.labels(language)
    if not known:
        raise UsageError(
            f"the language {language.name!r} knows no fact of these texts.\n"
            "  --labels text knows any text, world the built-in world's stories only; or --labels none."
        )
    return {kind: column for kind, column in known.items() if len(set(column) - {None, UNDECIDED}) > 1}


def _cross_fitted(
    sample: Sample, named: dict[str, list[list[str]]], fold: np.ndarray, seed: int
) -> tuple[Misses, dict[str, Misses]]:
    """Errors of the lookup, and of each set of names beside it, on every row by fits that never saw its document."""
    lookup_miss = np.empty(len(sample))
    missed = {name: np.empty(len(sample)) for name in named}
    for part in range(FOLDS):
        seen, held = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        doc_ids = [sample.doc_ids[row] for row in seen]
        columns, other = sample.columns.take(seen), sample.columns.take(held)
        goal = sample.vectors[held]
        lookup = TokenLookup.fit(sample.vectors[seen], columns, doc_ids, seed=seed)
        lookup_miss[held] = _miss(lookup.predict(other), goal)
        for name, rows in named.items():
            ridge = FactRidge.fit(
                sample.vectors[seen], [rows[row] for row in seen], doc_ids, columns=columns, lookup=lookup, seed=seed
            )
            missed[name][held] = _miss(ridge.predict([rows[row] for row in held], other), goal)
    return lookup_miss, missed


def _miss(pred: Float[Tensor, "n d_model"], goal: Float[Tensor, "n d_model"]) -> Misses:
    return as_misses(direction_mse(pred, goal))


def _folds(doc_ids: Sequence[str], seed: int) -> np.ndarray:
    """The fold of every row.

    Raises:
        UsageError: a fold is empty, or the others hold fewer than two documents.
    """
    of = {name: fold_of(name, FOLDS, seed) for name in set(doc_ids)}
    counts = np.bincount(list(of.values()), minlength=FOLDS)
    if counts.min() == 0 or len(of) - counts.max() < 2:
        raise UsageError(
            f"only {len(of)} documents are long enough, too few to judge on documents that the fits have not seen.\n"
            "  Give more or longer texts, a few dozen at least."
        )
    return np.array([of[name] for name in doc_ids])


def propose(scans: Sequence[LayerScan], n_layers: int) -> dict[str, Any]:
    """Where to train: the layer to whose token lookup words add most, and why in a sentence or two."""
    order = sorted(scans, key=lambda one: one.named.value, reverse=True)
    best = order[0]
    what = "the target's next tokens" if best.named_add is None else "facts and the target's next tokens"
    if best.named.value <= 0:
        order = sorted(scans, key=lambda one: one.lookup_fve.value)
        lowest = order[0]
        reason = (
            f"{what} add nothing to the last tokens at any layer on {best.named.n} rows, so this is the layer whose "
            f"activations the last tokens explain least ({lowest.lookup_fve.value:.2f}). More documents may show more."
        )
        return {"layer": lowest.layer, "reason": reason, "ranking": [one.layer for one in order]}
    reason = (
        f"the last tokens leave {best.left:.2f} of its variance open; {what} add "
        f"{best.named.value:.2f} to what they explain, the most of {len(scans)} layer(s)."
    )
    if best.facts_add is not None:
        reason += f" Facts alone add {best.facts_add.value:.2f}, next tokens alone {best.next_add.value:.2f}."
    if len(order) > 1:
        reason += f" Next comes layer {order[1].layer} with {order[1].named.value:.2f}."
    if best.layer == n_layers - 1:
        reason += " It is the last block, where the logit lens shows the next tokens without training."
    return {"layer": best.layer, "reason": reason, "ranking": [one.layer for one in order]}
