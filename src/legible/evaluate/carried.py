"""What FVE does not say: whether a reconstruction is this activation's, and whether the target could continue from it.

    matched minus mismatched   mean cosine with the own activation minus that with another document's; FVE alone can
                               be had by a direction that all activations share
    KL recovered               1 - KL(clean || patched with the reconstruction) / KL(clean || patched with the mean),
                               over the target's next token, the stream at layer K replaced at the row's token alone

Both come with their interval over documents. In a patch every vector has the activation's own norm: directions are
compared, as everywhere.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.engines.patching import Patch
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.models.target import Target
from legible.stats import Interval, ratio_interval
from legible.vectors import unit

KL_ROWS = 200  # most rows whose next token is patched: each runs the target over its text


def matched_minus_mismatched(
    pred: Float[Tensor, "n d_model"], vectors: Float[Tensor, "n d_model"], doc_ids: Sequence[str]
) -> Interval:
    """Mean cosine with the own activation minus the mean over all activations of other documents, in [-2, 2].

    Args:
        pred: reconstructions, any scale.
        vectors: the activations, row for row.
        doc_ids: the document of each row.

    Raises:
        UsageError: all rows are of one document.

    Example:
        >>> matched_minus_mismatched(torch.eye(2), torch.eye(2), ["a", "b"]).value
        1.0
    """
    names, places = np.unique(np.asarray(doc_ids, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise UsageError("all rows are of one document, and the controls need another.\n  Evaluate more documents.")
    target_units, given = unit(vectors).double(), unit(pred).double()
    group = torch.from_numpy(places)
    sums = torch.zeros(len(names), target_units.shape[1], dtype=torch.float64).index_add(0, group, target_units)
    others = (len(target_units) - torch.bincount(group, minlength=len(names)))[group].unsqueeze(-1)
    elsewhere = (sums.sum(0) - sums[group]) / others
    gain = (given * (target_units - elsewhere)).sum(-1).numpy()
    return ratio_interval(gain, np.ones_like(gain), doc_ids)


@torch.no_grad()
def kl_recovered(
    target: Target,
    layer: int,
    sample: Sample,
    pred: Float[Tensor, "n d_model"],
    mean: Float[Tensor, " d_model"],
    *,
    rows: int = KL_ROWS,
    seed: int = 0,
) -> Interval:
    """The share of the KL that the mean activation costs which the reconstructions spare: 1 is all, 0 none of it.

    Args:
        target: whose next-token distributions.
        layer: K.
        sample: where each activation was read.
        pred: reconstructions, one per row.
        mean: the mean activation's direction.
        rows: most rows measured, drawn evenly; the interval counts them.
        seed: of the drawing.

    Raises:
        UsageError: the target's tokenizer does not give the rows' tokens.
    """
    chosen = np.arange(len(sample))
    if rows < len(chosen):
        chosen = np.sort(np.random.default_rng([seed, 2]).choice(len(sample), rows, replace=False))
    costs = []
    for index in chosen.tolist():
        patch = Patch.at(target, layer, sample.rows[index], sample.vectors[index])
        costs.append(patch.kl(torch.stack([pred[index], mean])).double().cpu().numpy())
    words, constant = np.stack(costs).T
    return ratio_interval(words, constant, [sample.doc_ids[index] for index in chosen], offset=1.0, scale=-1.0)
