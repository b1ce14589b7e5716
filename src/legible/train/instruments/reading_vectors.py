"""Reading vectors from labelled rows: found on some documents, chosen and calibrated on the others.

Of every kind with one value at a time, each value is contrasted with the other values of its kind; rows that leave the
kind open are no contrast. For the difference of means all of them count; for the principal difference each row that
holds the value is paired with one that does not, of the same last token where there is one, so that the pairs differ in
less that is not meant. On the documents held out every decided row counts, the open ones as not holding it.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from legible.errors import UsageError
from legible.instruments.base import Rows, Setting, lacking
from legible.instruments.reading_vectors import (
    KIND,
    Form,
    ReadingVector,
    ReadingVectors,
    difference_of_means,
    principal_difference,
)
from legible.probes import files
from legible.probes.probes import UNDECIDED, known_labels
from legible.stats import held_out_documents
from legible.vectors import unit

HELD = 0.3  # of the documents choose and calibrate
FEWEST = 4  # rows that hold a value, on either side; values with fewer have no direction
PAIRS = 512  # most that a principal difference is taken of


def train(setting: Setting, out: Path, progress: Callable[[int, int], None]) -> None:
    """Find, choose, calibrate and write them.

    Raises:
        UsageError: rows without facts or of fewer than two documents, or no value that enough rows hold.
    """
    started, others, language = time.process_time(), setting.others, setting.language
    assert others is not None
    if language is None or not len(others.facts):
        command = f"legible instrument {ReadingVectors.name} CHECKPOINT STORE --out FILE"
        how = f"Name a checkpoint, whose language says what holds: {command}"
        raise lacking(ReadingVectors.name, "rows whose facts a language knows", how)
    labels = known_labels(others.facts, language.probe_kinds)
    wanted = [
        (kind, value) for kind in labels for value in sorted({one for one in labels[kind] if one}) if value != UNDECIDED
    ]
    found = _Search(others, labels, setting.seed)
    vectors, directions = [], {}
    for done, (kind, value) in enumerate(wanted, 1):
        if (one := found.vector(kind, value)) is not None:
            vectors.append(one[0])
            directions[one[0].name] = one[1].contiguous()
        progress(done, len(wanted))
    if not vectors:
        raise UsageError(
            f"no value is held by {FEWEST} rows of the documents that fit and {FEWEST} of those held out, among "
            f"{len(others)} rows.\n  Capture more documents."
        )
    about = {
        "layer": setting.layer,
        "language": language.name,
        "labels": len(others.facts),
        "texts": len(set(others.doc_ids)),
        "vectors": [asdict(one) for one in vectors],
        "too_rare": len(wanted) - len(vectors),
        "train_cpu_s": time.process_time() - started,
    }
    files.save(out, KIND, about, directions)


class _Search:
    """The rows of a store, split by document into those that find directions and those that judge them."""

    def __init__(self, others: Rows, labels: Mapping[str, Sequence[str | None]], seed: int) -> None:
        self.seen = unit(others.vectors)
        self.labels = {kind: np.array(column, dtype=object) for kind, column in labels.items()}
        self.held = held_out_documents(others.doc_ids, share=HELD, seed=seed)
        self.tokens = np.array([row.token_id for row in others.rows])
        self.seed = seed

    def vector(self, kind: str, value: str) -> tuple[ReadingVector, Float[Tensor, " d_model"]] | None:
        """The better of the two directions of a value; None where too few rows hold it, or all do."""
        column = self.labels[kind]
        holds, decided = column == value, column != UNDECIDED
        other = decided & (column != None) & ~holds  # noqa: E711 - elementwise
        mine, against = (np.flatnonzero(rows & ~self.held) for rows in (holds, other))
        judged = np.flatnonzero(decided & self.held)
        true = holds[judged]
        if len(mine) < FEWEST or not len(against) or not FEWEST <= true.sum() < len(true):
            return None
        left, right = self._pairs(mine, against)
        forms: dict[Form, Tensor] = {
            "means": difference_of_means(self.seen[mine], self.seen[against]),
            "differences": principal_difference(self.seen[left], self.seen[right]),
        }
        fitted = {form: logistic(self.seen[judged] @ each, torch.from_numpy(true)) for form, each in forms.items()}
        form = min(fitted, key=lambda name: fitted[name][2])
        slope, bias, _ = fitted[form]
        return ReadingVector(kind, value, form, slope, bias), forms[form]

    def _pairs(self, mine: "np.ndarray", against: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
        """Rows that hold a value, each with one that holds another: of its last token where there is such a row."""
        rng = np.random.default_rng([self.seed, 9])
        of_token: dict[int, list[int]] = defaultdict(list)
        for row in against.tolist():
            of_token[int(self.tokens[row])].append(row)
        left = rng.permutation(mine)[:PAIRS]
        right = [int(rng.choice(of_token.get(int(self.tokens[row])) or against)) for row in left]
        return left, np.array(right)


def logistic(x: Float[Tensor, " n"], true: Bool[Tensor, " n"]) -> tuple[float, float, float]:
    """The logistic regression of an outcome on one number: slope, bias, and the mean loss in nats on the same rows.

    The slope is held back a little (a ridge of 1 on x in standard deviations), so that few rows do not claim certainty.
    """
    center, scale = x.mean(), x.std().clamp_min(1e-6)
    given = ((x - center) / scale)[:, None].double().numpy()
    model = LogisticRegression().fit(given, true.numpy())
    slope, bias = float(model.coef_[0, 0]), float(model.intercept_[0])
    logits = torch.from_numpy(slope * given[:, 0] + bias)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, true.double())
    return slope / float(scale), bias - slope * float(center) / float(scale), float(loss)
