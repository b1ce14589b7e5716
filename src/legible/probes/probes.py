"""What an activation holds: calibrated probes for every kind of fact, cross-fitted by document.

For each kind a linear probe (multinomial logistic regression) and one fixed small MLP are fitted on the activation's
direction; the better of the two on documents it has not seen stands for the kind. `open` is a class of its own, so
that a probe can tell unknown from known; accuracies are reported on known rows, among the values. Every document has
one fold, a hash of its id: rows of a fold are judged by the probe that never saw the fold, whenever they come.
Probabilities are calibrated by one temperature a kind on those unseen folds. All kinds are fitted in one batch.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.errors import UsageError
from legible.languages.base import MOST_VALUES, Fact
from legible.probes import files
from legible.probes.fit import FORMS, IGNORED, calibrate, fit_fold, fold_logits, pack, unpack, whitening
from legible.stats import Interval, exact, fold_of, ratio_interval
from legible.vectors import unit

OPEN = "(open)"
UNDECIDED = "(undecided)"
"""In place of an unknown value: such a row neither fits nor scores a probe of that kind."""
DECODABLE = 0.8  # the calibrated probability of the true value from which an instance is decodable

Labels = Mapping[str, Sequence[str | None]]
"""For every kind one value per row; None where the row leaves the kind open, `UNDECIDED` where it is unknown."""


def known_labels(facts: Sequence[Mapping[str, Fact]], kinds: Sequence[str]) -> dict[str, list[str | None]]:
    """The one known value of every kind and row; None where it is open or has no value or several, `UNDECIDED` where
    it is not known."""
    return {kind: [_known(row.get(kind)) for row in facts] for kind in kinds}


def _known(fact: Fact | None) -> str | None:
    if fact is None:
        return UNDECIDED
    return fact.values[0] if fact.status != "open" and len(fact.values) == 1 else None


@dataclass(frozen=True)
class ProbeScore:
    """How well a kind is read from unseen documents: accuracy on known rows, and over chance."""

    form: str  # linear or mlp, whichever is better
    accuracy: float
    chance: float  # share of the most frequent value
    corrected: Interval  # (accuracy - chance) / (1 - chance)
    linear_accuracy: float
    mlp_accuracy: float
    known: int
    values: int

    def as_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {**self.__dict__, "corrected": self.corrected.as_dict()}


@dataclass(frozen=True)
class ProbeSet:
    """Fitted probes. `weights` are stacked over folds; `classes[kind][0]` is `OPEN`."""

    classes: dict[str, list[str]]
    forms: dict[str, str]
    temperatures: dict[str, float]
    scores: dict[str, ProbeScore]
    weights: dict[str, Tensor]
    folds: int
    seed: int
    rows: int
    cpu_s: float | None = field(default=None, compare=False)  # of fitting; unknown of those that were loaded

    @classmethod
    def fit(
        cls,
        vectors: Float[Tensor, "n d_model"],
        labels: Labels,
        doc_ids: Sequence[str],
        *,
        seed: int = 0,
        folds: int = 3,
        most_values: int = MOST_VALUES,
    ) -> "ProbeSet":
        """Fit, compare and calibrate.

        Args:
            vectors: activations, any scale; 20 k rows or more for figures that count.
            labels: for every kind one value per row, None where the row leaves it open; `UNDECIDED` rows teach nothing.
            doc_ids: the document of each row.
            seed: of folds, initial weights and order.
            folds: parts that the documents fall into.
            most_values: that a probe tells apart, the most frequent ones; rarer ones count as open.

        Raises:
            UsageError: a kind that is never known, or a fold without rows.
        """
        started = time.process_time()
        classes = {kind: [OPEN, *_values(kind, column, most_values)] for kind, column in labels.items()}
        gold = _gold(labels, classes)
        fold = _folds(doc_ids, folds, seed)
        counts = [int((fold == part).sum()) for part in range(folds)]
        if min(counts) == 0:
            raise UsageError(f"the {len(set(doc_ids))} documents fill {np.count_nonzero(counts)} of {folds} folds.\n"
                             "  Capture more documents, or ask for fewer folds.")  # fmt: skip
        center, whiten = whitening(unit(vectors))
        seen = (unit(vectors) - center) @ whiten
        sizes = torch.tensor([len(names) for names in classes.values()])
        decided = (gold != IGNORED).any(1)
        others = [(fold != part) & decided for part in range(folds)]
        parts = [fit_fold(seen[rows], gold[rows], sizes, seed * 101 + part) for part, rows in enumerate(others)]
        weights = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
        weights |= {"center": center, "whiten": whiten}
        logits = {form: fold_logits(form, seen, fold, weights, sizes) for form in FORMS}
        temperatures, losses = zip(*(calibrate(logits[form], gold) for form in FORMS), strict=True)
        better = (losses[1] < losses[0]).long().tolist()
        scores = {
            kind: _score(FORMS[better[k]], [logits[form][:, k] for form in FORMS], gold[:, k], doc_ids)
            for k, kind in enumerate(classes)
        }
        return cls(
            classes,
            {kind: FORMS[better[k]] for k, kind in enumerate(classes)},
            {kind: float(temperatures[better[k]][k]) for k, kind in enumerate(classes)},
            scores,
            weights,
            folds,
            seed,
            len(vectors),
            time.process_time() - started,
        )

    def probability(
        self, vectors: Float[Tensor, "n d_model"], doc_ids: Sequence[str]
    ) -> dict[str, Float[Tensor, "n classes"]]:
        """Calibrated probabilities of every class, from the probe that has not seen the row's document."""
        sizes = torch.tensor([len(names) for names in self.classes.values()])
        seen = (unit(vectors) - self.weights["center"]) @ self.weights["whiten"]
        fold = _folds(doc_ids, self.folds, self.seed)
        logits = {form: fold_logits(form, seen, fold, self.weights, sizes) for form in set(self.forms.values())}
        return {
            kind: (logits[self.forms[kind]][:, k, : len(names)] / self.temperatures[kind]).softmax(-1)
            for k, (kind, names) in enumerate(self.classes.items())
        }

    def of_truth(
        self, vectors: Float[Tensor, "n d_model"], labels: Labels, doc_ids: Sequence[str]
    ) -> dict[str, tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]]:
        """For every kind the probability of each row's true value, and whether it is the most probable class.

        Both are 0 where the row leaves the kind open, as all do where `labels` leaves it out, or its value was never
        seen in fitting.
        """
        probabilities = {}
        for kind, share in self.probability(vectors, doc_ids).items():
            index = {value: place for place, value in enumerate(self.classes[kind])}
            column = labels.get(kind, [None] * len(vectors))
            gold = torch.tensor([index.get(value, -1) if value is not None else -1 for value in column])
            true = share.gather(1, gold.clamp_min(0)[:, None])[:, 0] * (gold > 0)
            probabilities[kind] = (true, (share.argmax(-1) == gold) & (gold > 0))
        return probabilities

    def decodable(
        self,
        vectors: Float[Tensor, "n d_model"],
        labels: Labels,
        doc_ids: Sequence[str],
        *,
        threshold: float = DECODABLE,
    ) -> dict[str, Bool[Tensor, " n"]]:
        """Whether the better probe is right and gives the true value at least `threshold`, for every kind and row."""
        return {
            kind: right & (true >= threshold) for kind, (true, right) in self.of_truth(vectors, labels, doc_ids).items()
        }

    def found(
        self, vectors: Float[Tensor, "n d_model"], labels: Labels, doc_ids: Sequence[str], *, threshold: float
    ) -> list[set[str]]:
        """The kinds whose true value the activation gives at least `threshold`, for every row."""
        shares = self.of_truth(vectors, labels, doc_ids)
        return [{kind for kind, (true, _) in shares.items() if true[row] >= threshold} for row in range(len(vectors))]

    def report(self) -> dict[str, dict[str, object]]:
        """The score of every kind as plain JSON."""
        return {kind: score.as_dict() for kind, score in self.scores.items()}

    def telling(self) -> dict[str, float]:
        """Chance-corrected accuracy of the kinds that rows differ in: one of a single value has nothing to read."""
        return {kind: score.corrected.value for kind, score in self.scores.items() if score.values > 1}

    def mean_corrected(self) -> float | None:
        """Mean chance-corrected accuracy over the `telling` kinds; None where there are none."""
        found = self.telling().values()
        return float(np.mean(list(found))) if found else None

    def save(self, path: Path) -> None:
        """Write one safetensors file: of each kind the form that stands for it, as float16."""
        about = {
            "classes": self.classes,
            "forms": self.forms,
            "temperatures": self.temperatures,
            "scores": self.report(),
            "folds": self.folds,
            "seed": self.seed,
            "rows": self.rows,
        }
        files.save(path, "probes", about, self._packed())

    def as_kept(self) -> "ProbeSet":
        """What `load` gives back of what `save` writes."""
        sizes = [len(names) for names in self.classes.values()]
        packed = {name: tensor.float() for name, tensor in self._packed().items()}
        return replace(self, weights=unpack(packed, sizes, self.folds))

    def _packed(self) -> dict[str, Tensor]:
        sizes = [len(names) for names in self.classes.values()]
        packed = pack(self.weights, [self.forms[kind] for kind in self.classes], sizes)
        return {name: (w if name == "center" else w.half()).contiguous() for name, w in packed.items()}

    @classmethod
    def load(cls, path: Path) -> "ProbeSet":
        """Read what `save` wrote.

        Raises:
            UsageError: no such file, or it holds something else.
        """
        missing = f"no probes at {path}.\n  `legible teach` with limit=probes and `legible evaluate` fit them."
        about, tensors = files.load(path, "probes", missing)
        sizes = [len(names) for names in about["classes"].values()]
        weights = unpack({name: tensor.float() for name, tensor in tensors.items()}, sizes, about["folds"])
        scores = {
            kind: ProbeScore(**{**score, "corrected": Interval(**score["corrected"])})
            for kind, score in about.pop("scores").items()
        }
        return cls(scores=scores, weights=weights, **about)


def _values(kind: str, column: Sequence[str | None], most: int) -> list[str]:
    """The values that a probe tells apart: the most frequent ones, sorted."""
    frequent = Counter(value for value in column if value not in (None, UNDECIDED)).most_common(most)
    if not frequent:
        raise UsageError(f"no row knows {kind!r}, expected at least one.\n  Leave the kind out, or capture more rows.")
    return sorted(str(value) for value, _ in frequent)


def _gold(labels: Labels, classes: Mapping[str, list[str]]) -> Int[Tensor, "n kinds"]:
    columns = []
    for kind, names in classes.items():
        index: dict[str | None, int] = {value: place for place, value in enumerate(names)}
        index |= {None: 0, UNDECIDED: IGNORED}
        columns.append(torch.tensor([index.get(value, 0) for value in labels[kind]]))  # 0 for rare values too
    return torch.stack(columns, dim=1)


def _folds(doc_ids: Sequence[str], folds: int, seed: int) -> Int[Tensor, " n"]:
    of = {name: fold_of(name, folds, seed) for name in set(doc_ids)}
    return torch.tensor([of[name] for name in doc_ids])


def _score(form: str, logits: list[Tensor], gold: Int[Tensor, " n"], doc_ids: Sequence[str]) -> ProbeScore:
    known = gold > 0
    hits = [(part[known, 1:].argmax(-1) + 1 == gold[known]).double() for part in logits]
    best = hits[FORMS.index(form)]
    chance = torch.bincount(gold[known]).max().item() / int(known.sum())
    names = [name for name, is_known in zip(doc_ids, known.tolist(), strict=True) if is_known]
    room = 1.0 - chance if chance < 1.0 else float("inf")  # a kind of one value has nothing to read
    offset, scale = -chance / room, 1.0 / room
    corrected = ratio_interval(best, torch.ones_like(best), names, offset=offset, scale=scale)
    corrected = exact(corrected, offset=offset, scale=scale)
    return ProbeScore(
        form, float(best.mean()), chance, corrected, hits[0].mean().item(), hits[1].mean().item(),
        int(known.sum()), int(gold.max()),
    )  # fmt: skip
