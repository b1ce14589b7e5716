"""Controls that borrow from other rows: the nearest training activation, and the same last tokens elsewhere."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.data.store import Store
from legible.evaluate import claims
from legible.evaluate.battery.parts import Case, Control, Over, Taught, texts_control
from legible.evaluate.controls import lookup_misses
from legible.evaluate.reconstruction import as_misses, fve_of, misses
from legible.evaluate.sample import Sample
from legible.teachers import read_taught
from legible.vectors import direction_mse, unit

CHUNK = 4096  # rows in memory at once
NEAREST = "that repeating the explanation of the most similar training activation is enough"
TWINS = "that the words only echo the last two tokens, whatever stands before them"


def nearest_neighbour(case: Case, taught: Taught) -> Control:
    """The teacher's explanation of the training activation with the largest cosine."""
    texts_of = {item.row: item.text for item in read_taught(taught.teach_file) if item.text is not None}
    nearest, vectors = nearest_rows(case.bench.sample.vectors, taught.store, sorted(texts_of), case.layer)
    itself = as_misses(direction_mse(vectors, case.bench.sample.vectors))
    fve = fve_of(itself, case.bench.variance, case.doc_ids).value
    return texts_control(
        case,
        "nearest_neighbour",
        NEAREST,
        [texts_of[row] for row in nearest],
        f"{len(texts_of)} training rows ({taught.origin}); the neighbour's activation itself has FVE {fve:.2f}",
    )


def nearest_rows(
    vectors: Float[Tensor, "n d_model"], store: Store, rows: Sequence[int], layer: int
) -> tuple[list[int], Float[Tensor, "n d_model"]]:
    """For every vector the row of the store, among `rows`, that has the largest cosine with it, and its activation."""
    goal = unit(vectors)
    best = torch.full((len(goal),), -2.0)
    where = torch.zeros(len(goal), dtype=torch.long)
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        nearest: tuple[Float[Tensor, " n"], Int[Tensor, " n"]] = (goal @ unit(store.vectors(chunk, layer)).T).max(1)
        nearer = nearest[0] > best
        best = torch.where(nearer, nearest[0], best)
        where = torch.where(nearer, torch.tensor(chunk)[nearest[1]], where)
    chosen = [int(row) for row in where]
    return chosen, store.vectors(chosen, layer)


def same_last_tokens(case: Case, lender: Sample) -> Control:
    """The reading against the activation of another document that ends in the same two tokens.

    A reading that only echoes the last tokens fits that activation as well as its own.
    """
    sample, bench = case.bench.sample, case.bench
    rows, others = same_endings(sample, lender)
    note = f"{len(rows)} of {len(sample)} rows have such a twin among {len(lender)}"
    if not rows:
        return Control("same_last_tokens", TWINS, note)
    facts = [lender.facts[index] for index in others] if lender.facts else []
    twin = Sample(lender.vectors[others], [lender.rows[index] for index in others], facts)
    texts = [case.explained.texts[row] for row in rows]
    judged = claims.judge_texts(texts, twin, bench.language) if bench.language is not None else None
    over = Over(np.array(rows), lookup_misses(bench.lookup, twin))
    return Control(
        "same_last_tokens", TWINS, note, misses(bench.reconstructor, texts, twin.vectors, case.guess), judged, over
    )


def same_endings(sample: Sample, lender: Sample) -> tuple[list[int], list[int]]:
    """Rows of the sample and, for each, the lender's row of another document with the same last two tokens.

    Where there are several, the one at the nearest position.
    """
    by_pair: dict[int, list[int]] = {}
    for index, pair in enumerate(lender.columns.pairs().tolist()):
        by_pair.setdefault(pair, []).append(index)
    rows, others = [], []
    for row, pair in enumerate(sample.columns.pairs().tolist()):
        like = [index for index in by_pair.get(pair, []) if lender.doc_ids[index] != sample.doc_ids[row]]
        if like:
            rows.append(row)
            others.append(min(like, key=lambda index: (abs(lender.rows[index].pos - sample.rows[row].pos), index)))
    return rows, others
