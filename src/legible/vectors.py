"""Direction arithmetic on activations: the definitions behind every score we report.

Pure functions on tensors; nothing here loads a model, reads a file or logs.
Both sides are scaled to unit L2 norm first, so only direction is compared:
    direction_mse = |p/|p| - g/|g||^2 = 2 (1 - cos)      in [0, 4]; 2 = orthogonal
    FVE           = 1 - mean(direction_mse) / variance    at most 1
where `variance` is the mean squared distance of the unit targets from their mean m. A constant
guess, scaled to length 1 too, scores (|m| - 1) / (|m| + 1): between -1 and 0.

Source: the NLA report (transformer-circuits.pub/2026/nla); the closed form is ours, see its test.
"""

from jaxtyping import Bool, Float
from torch import Tensor

OUTLIER = 3.0  # times the median norm, or its inverse


def unit(x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
    """x / |x| along the last axis, in float32; a zero vector stays zero."""
    x = x.float()
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def direction_mse(pred: Float[Tensor, "... d_model"], target: Float[Tensor, "... d_model"]) -> Float[Tensor, "..."]:
    """Squared distance of the unit vectors, row for row: 2 (1 - cos), in [0, 4]; 2 is orthogonal."""
    return (unit(pred) - unit(target)).square().sum(-1)


def centered_cosine(
    pred: Float[Tensor, "... d_model"], target: Float[Tensor, "... d_model"], mean: Float[Tensor, "*shared d_model"]
) -> Float[Tensor, "..."]:
    """Cosine of the unit vectors after `mean`, that of unit activations, is taken off both: in [-1, 1], 1 is exact.

    Activations share most of their direction, so that a bare cosine is high whatever the words say; this one is about 0
    where they say nothing.
    """
    return (unit(unit(pred) - mean) * unit(unit(target) - mean)).sum(-1)


def variance(target: Float[Tensor, "n d_model"]) -> float:
    """V: mean squared distance of the unit targets from their mean, in [0, 1].

    Raises:
        ValueError: fewer than two rows have no variance.
    """
    if len(target) < 2:
        raise ValueError(f"variance needs at least 2 rows, got {len(target)}")
    directions = unit(target)
    return (directions - directions.mean(dim=0)).square().sum(-1).mean().item()


def fve(
    pred: Float[Tensor, "n d_model"], target: Float[Tensor, "n d_model"], *, variance_: float | None = None
) -> float:
    """Fraction of the targets' directional variance that the predictions explain.

    Args:
        pred: reconstructed activations, any scale or float dtype.
        target: the captured activations, row for row.
        variance_: baseline to divide by; pass the training split's value (the contract's) for a small batch.

    Returns:
        Dimensionless: 1.0 is perfect, 0.0 no better than the targets' mean; no lower bound.

    Raises:
        ValueError: fewer than two rows and no `variance_`, so there is no baseline.

    Example:
        >>> import torch
        >>> fve(torch.eye(4), torch.eye(4))
        1.0
    """
    baseline = variance(target) if variance_ is None else variance_
    return 1.0 - direction_mse(pred, target).mean().item() / baseline


def fve_token(mse: float, variance_: float) -> float:
    """1 - direction_mse / V of a single token; never averaged without an interval."""
    return 1.0 - mse / variance_


def norm_outliers(norms: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whose norm is over three times the median of them all, or under a third of it."""
    median = norms.median()
    return ~((norms >= median / OUTLIER) & (norms <= OUTLIER * median))  # a norm that is no number counts
