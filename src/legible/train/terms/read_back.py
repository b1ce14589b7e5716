"""Reading a step's explanations back: the reconstructor's errors, and its own gradient on the same pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from legible.data.batches import length_grouped_batches
from legible.models.reconstructor import Reconstructor
from legible.train.rollouts import Place
from legible.train.terms.spaces import Errors

WORST_MSE = 4.0


@dataclass(frozen=True)
class Read:
    """One text that the reconstructor reads for a rollout; the shares of a rollout's texts add up to 1."""

    place: Place
    text: str
    share: float = 1.0


@dataclass(frozen=True)
class ReadBack:
    """What came back, by group and rollout; a rollout that nobody read has `parsed` False and the worst error."""

    mse: Float[Tensor, "p g"]  # direction_mse
    error: Float[Tensor, "p g"]  # in the configured space
    gain: Float[Tensor, "p g"]  # of the contrast
    parsed: Bool[Tensor, "p g"]


def read_back(
    reconstructor: Reconstructor,
    reads: Sequence[Read],
    shape: tuple[int, int],
    *,
    direction: Errors,
    space: Errors | None,
    gains: Errors | None,
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
        gains: the contrast's gains; None: 0.
        weight: of the regression; 0 computes no gradient.
        tokens: padded tokens in one pass.
    """
    found = {name: torch.zeros(shape) for name in ("mse", "error", "gain")}
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
        scores = {
            "mse": mse,
            "error": error,
            "gain": torch.zeros(len(chosen)) if gains is None else gains(pred.detach(), index),
        }
        for name, values in scores.items():
            for read, value in zip(chosen, values.detach().cpu() * shares, strict=True):
                found[name][read.place] += value
        for read in chosen:
            parsed[read.place] = True
    for name in ("mse", "error"):
        found[name][~parsed] = WORST_MSE
    return ReadBack(**found, parsed=parsed)


@torch.no_grad()
def read_texts(reconstructor: Reconstructor, texts: Sequence[str], tokens: int) -> Float[Tensor, "n d"]:
    """Reconstructions of texts, without gradients, in their order, on the CPU."""
    found = torch.zeros(len(texts), reconstructor.arch.d_model)
    for batch, pred in _passes(reconstructor, texts, tokens, trained=False):
        found[batch] = pred.cpu()
    return found


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
