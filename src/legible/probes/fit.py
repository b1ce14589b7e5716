"""Fitting linear and MLP probes of many kinds in one batch; what they mean stands in `probes`.

All kinds share the matrix products, none shares a weight with another.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

FORMS = ("linear", "mlp")
IGNORED = -100
"""The class of a row that teaches a probe nothing, as torch's cross-entropy has it."""
HIDDEN = 64
EPOCHS = 14
MIN_STEPS = 300  # few rows are passed over more often
BATCH = 512
_HIDDEN = ("mlp.weight1", "mlp.bias1")
MAX_DIRECTIONS = 512  # principal directions the probes see


def whitening(x: Float[Tensor, "n d_model"]) -> tuple[Float[Tensor, " d_model"], Float[Tensor, "d_model k"]]:
    """Centre and map to uncorrelated unit-variance directions: the fit then converges in a few epochs."""
    center = x.mean(0)
    covariance = (x - center).T @ (x - center) / len(x)
    values, directions = torch.linalg.eigh(covariance.double())
    kept = (values > values[-1] * 1e-6).nonzero()[:, 0][-MAX_DIRECTIONS:]
    return center, (directions[:, kept] / values[kept].sqrt()).float()


def _logits(form: str, x: Tensor, w: Mapping[str, Tensor], sizes: Tensor) -> Float[Tensor, "n kinds classes"]:
    """Logits of all kinds at once; classes that a kind does not have are minus infinity."""
    kinds, width = len(sizes), int(sizes.max())
    if form == "linear":
        out = F.linear(x, w["linear.weight"], w["linear.bias"]).view(len(x), kinds, width)
    else:
        hidden = F.linear(x, w["mlp.weight1"], w["mlp.bias1"]).relu().view(len(x), kinds, HIDDEN)
        out = torch.bmm(hidden.transpose(0, 1), w["mlp.weight2"]).transpose(0, 1) + w["mlp.bias2"]
    return out.masked_fill(torch.arange(width) >= sizes[:, None], -1e4)


def _initial(d: int, sizes: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    kinds, width = len(sizes), int(sizes.max())
    return {
        "linear.weight": torch.zeros(kinds * width, d),
        "linear.bias": torch.zeros(kinds * width),
        "mlp.weight1": torch.randn(kinds * HIDDEN, d, generator=generator) * (1.4 / d**0.5),
        "mlp.bias1": torch.zeros(kinds * HIDDEN),
        "mlp.weight2": torch.randn(kinds, HIDDEN, width, generator=generator) / HIDDEN**0.5,
        "mlp.bias2": torch.zeros(kinds, width),
    }


def fit_fold(x: Float[Tensor, "n k"], gold: Int[Tensor, "n kinds"], sizes: Tensor, seed: int) -> dict[str, Tensor]:
    """Both forms of every kind, trained together on one fold's complement (their losses share no weight)."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: w.requires_grad_() for name, w in _initial(x.shape[1], sizes, generator).items()}
    per_form = [[w for name, w in weights.items() if name.startswith(form)] for form in FORMS]
    rates = [2e-2, 4e-3]
    groups = [
        {"params": params, "lr": rate, "weight_decay": decay}
        for params, rate, decay in zip(per_form, rates, [3e-2, 3e-1], strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    per_epoch = -(-len(x) // BATCH)
    epochs = max(EPOCHS, -(-MIN_STEPS // per_epoch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rates, total_steps=epochs * per_epoch, pct_start=0.1, cycle_momentum=False
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            losses = [F.cross_entropy(_logits(form, x[rows], weights, sizes).flatten(0, 1), gold[rows].flatten())
                      for form in FORMS]  # fmt: skip
            optimizer.zero_grad()
            (torch.stack(losses).sum() * len(sizes)).backward()
            optimizer.step()
            schedule.step()
    return {name: w.detach() for name, w in weights.items()}


@torch.no_grad()
def fold_logits(
    form: str, x: Float[Tensor, "n k"], fold: Int[Tensor, " n"], weights: Mapping[str, Tensor], sizes: Tensor
) -> Float[Tensor, "n kinds classes"]:
    """Logits of every row from the probes that never saw its fold."""
    out = torch.empty(len(x), len(sizes), int(sizes.max()))
    for part in range(len(weights["linear.bias"])):
        rows = fold == part
        of_part = {name: w[part] for name, w in weights.items() if name.startswith(form)}
        out[rows] = _logits(form, x[rows], of_part, sizes)
    return out


def calibrate(
    logits: Float[Tensor, "n kinds classes"], gold: Int[Tensor, "n kinds"]
) -> tuple[Float[Tensor, " kinds"], Float[Tensor, " kinds"]]:
    """The temperature of least cross-entropy and that cross-entropy, for every kind, by a fine grid."""
    grid = torch.logspace(-0.4, 0.6, 21)
    losses = torch.stack([F.cross_entropy((logits / t).transpose(1, 2), gold, reduction="none").mean(0) for t in grid])
    best, place = losses.min(0)
    return grid[place], best


def pack(weights: Mapping[str, Tensor], forms: Sequence[str], sizes: Sequence[int]) -> dict[str, Tensor]:
    """Of each kind the weights of one form, without the room that its classes do not fill.

    Args:
        weights: of all kinds, stacked over folds; what has no form, e.g. the whitening, stays as it is.
        forms, sizes: of each kind.
    """
    packed = {name: w for name, w in weights.items() if not name.startswith(FORMS)}
    for kind, (form, size) in enumerate(zip(forms, sizes, strict=True)):
        for name, whole in _by_kind(weights, len(sizes)).items():
            if name.startswith(form):
                part = whole[:, kind]
                packed[f"{name}/{kind}"] = part if name in _HIDDEN else part[..., :size]
    return packed


def unpack(tensors: Mapping[str, Tensor], sizes: Sequence[int], folds: int) -> dict[str, Tensor]:
    """Inverse of `pack`, up to the forms that it left out, which are zero; whole weights stay as they are."""
    if not any("/" in name for name in tensors):
        return dict(tensors)
    d = tensors["whiten"].shape[1]
    empty = _initial(d, torch.tensor(list(sizes)), torch.Generator())
    unpacked = {name: torch.zeros(folds, *w.shape) for name, w in empty.items()}
    views = _by_kind(unpacked, len(sizes))
    for name, part in tensors.items():
        kind = name.partition("/")[2]
        if kind:
            view = views[name.partition("/")[0]][:, int(kind)]
            view[..., : part.shape[-1]] = part
    return unpacked | {name: w for name, w in tensors.items() if "/" not in name}


def _by_kind(weights: Mapping[str, Tensor], kinds: int) -> dict[str, Tensor]:
    """Views of the forms' weights with a dimension of the kinds behind the folds, classes or hidden units last."""
    by_kind = {}
    for name, w in weights.items():
        if name in ("linear.weight", "mlp.weight1"):
            by_kind[name] = w.view(len(w), kinds, -1, w.shape[-1]).transpose(2, 3)
        elif name in ("linear.bias", "mlp.bias1"):
            by_kind[name] = w.view(len(w), kinds, -1)
        elif name.startswith(FORMS):
            by_kind[name] = w
    return by_kind
