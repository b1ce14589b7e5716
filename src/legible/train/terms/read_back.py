"""Reading a step's explanations back: the reconstructor's errors, and its own gradient on the same pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from legible.data.batches import length_grouped_batches
from legible.models.reconstructor import Reconstructor
from legible.train.rollouts import Place
from legible.train.terms.spaces import Errors

WORST_MSE = 4.0


@dataclass(frozen=True)
class Wording:
    """One text that the reconstructor reads for a rollout; the shares of a rollout's texts add up to 1."""

    place: Place
    text: str
    share: float = 1.0


@dataclass(frozen=True)
class ReadBack:
    """What came back, by group and rollout; a rollout that was not read has `parsed` False and the worst error."""

    mse: Float[Tensor, "p g"]  # direction_mse
    error: Float[Tensor, "p g"]  # in the configured space
    parsed: Bool[Tensor, "p g"]
    extra: Mapping[str, Float[Tensor, "p g"]] = field(default_factory=dict)  # what the terms measure

    def mean(self, values: Float[Tensor, "p g"]) -> float | None:
        """The mean of what was read; None where nothing was."""
        return float(values[self.parsed].mean()) if self.parsed.any() else None


def read_back(
    reconstructor: Reconstructor,
    reads: Sequence[Wording],
    shape: tuple[int, int],
    *,
    direction: Errors,
    space: Errors | None,
    measures: Mapping[str, Errors],
    weight: float,
    tokens: int,
) -> ReadBack:
    """Score every read under the reconstructor as it is now, and add its regression's gradient.

    Args:
        reconstructor: its gradients are added to, its weights stay.
        reads: the texts; several of one rollout are averaged by their shares.
        shape: groups and rollouts in each.
        direction: direction_mse of the step's activations.
        space: errors in another space; the regression then is the mean of both. None: direction alone.
        measures: what else is measured of every reconstruction, without gradients.
        weight: of the regression; 0 computes no gradient.
        tokens: padded tokens in one pass.
    """
    columns = {name: torch.zeros(shape) for name in ("mse", "error", *measures)}
    parsed = torch.zeros(shape, dtype=torch.bool)
    rollouts = len({read.place for read in reads})
    for batch, pred in _passes(reconstructor, [read.text for read in reads], tokens, trained=weight > 0):
        chosen = [reads[i] for i in batch]
        index = [read.place[0] for read in chosen]
        shares = torch.tensor([read.share for read in chosen])
        with torch.set_grad_enabled(weight > 0):
            mse = direction(pred, index)
            error = mse if space is None else space(pred, index)
            if weight > 0:
                loss = mse if space is None else (mse + error) / 2
                (weight * (loss * shares.to(loss.device)).sum() / rollouts).backward()
        others = {name: measure(pred.detach(), index) for name, measure in measures.items()}
        scores = {"mse": mse, "error": error, **others}
        for name, values in scores.items():
            for read, value in zip(chosen, values.detach().cpu() * shares, strict=True):
                columns[name][read.place] += value
        for read in chosen:
            parsed[read.place] = True
    for name in ("mse", "error"):
        columns[name][~parsed] = WORST_MSE
    return ReadBack(columns.pop("mse"), columns.pop("error"), parsed, columns)


@torch.no_grad()
def read_texts(reconstructor: Reconstructor, texts: Sequence[str], tokens: int) -> Float[Tensor, "n d"]:
    """Reconstructions of texts, without gradients, in their order, on the CPU."""
    vectors = torch.zeros(len(texts), reconstructor.arch.d_model)
    for batch, pred in _passes(reconstructor, texts, tokens, trained=False):
        vectors[batch] = pred.cpu()
    return vectors


def _passes(
    reconstructor: Reconstructor, texts: Sequence[str], tokens: int, *, trained: bool
) -> Iterator[tuple[list[int], Float[Tensor, "n d"]]]:
    """Batches of texts of similar length, as indices, and their reconstructions."""
    if not texts:
        return
    ids, mask = reconstructor.encode(texts)
    lengths = mask.sum(1).tolist()
    for batch in length_grouped_batches([max(1, length) for length in lengths], tokens, 0, 0):
        width = max(lengths[i] for i in batch)
        with torch.set_grad_enabled(trained):
            pred = reconstructor(ids[batch, :width], mask[batch, :width])
        yield batch, pred
