"""Directions from a file as rivals of an edit, and what any of them is worth at the same cost in fluency.

A file of contrasts holds one tensor for every value, named KIND=VALUE: reading vectors
(`legible.instruments.reading_vectors`), or decoder rows of a sparse autoencoder under the values that they stand for.
Where an edit makes one value another, the rival adds the new value's direction less the old one's.

Directions differ in what they do to the text at the same length, so strengths are not compared: each direction takes,
at every site, the strongest of its strengths whose continuation costs at most so many nats per token more than the
untouched one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from legible.display import visible
from legible.errors import UsageError
from legible.reading.given_vectors import checked_vectors
from legible.stats import ratio_interval, share_interval
from legible.vectors import unit

BUDGETS = (0.25, 0.5, 1.0, 2.0)
"""Nats per token above the untouched continuation."""
Contrasts = Mapping[str, Float[Tensor, " d_model"]]
"""By KIND=VALUE a direction."""


def load_contrasts(path: Path, d_model: int) -> Contrasts:
    """The directions of a safetensors file.

    Raises:
        UsageError: no such file, a broken one, another width, or no tensor named KIND=VALUE.
    """
    if not path.is_file():
        raise UsageError(f"no file at {visible(str(path))}.\n  Expected a safetensors file with tensors KIND=VALUE.")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys() if "=" in name}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise UsageError(
            f"{visible(str(path))} is damaged or no safetensors file: {visible(str(error))}\n  Write it again."
        ) from None
    if not found:
        raise UsageError(
            f"{visible(str(path))} holds no tensor named KIND=VALUE, such as mood=sad.\n"
            "  Train reading vectors: legible instrument reading-vectors CHECKPOINT STORE --out FILE"
        )
    return {name: unit(checked_vectors(tensor, d_model, visible(name))[0]) for name, tensor in found.items()}


def contrast(contrasts: Contrasts, kind: str, old: str, new: str) -> Float[Tensor, " d_model"] | None:
    """The unit direction from one value to another; towards the new one alone where the old one has none.

    Returns:
        None where the new value has no direction.
    """
    towards, away = contrasts.get(f"{kind}={new}"), contrasts.get(f"{kind}={old}")
    if towards is None:
        return None
    return unit(towards if away is None else towards - away)


@dataclass(frozen=True)
class Swept:
    """One direction at many sites and strengths, the strengths ascending.

    hits: whether the continuation says the new value.
    costs: nats per token above the untouched continuation; NaN where nothing was written.
    """

    sites: Sequence[int]
    hits: NDArray[np.bool_]
    costs: NDArray[np.float64]


def at_equal_cost(
    arms: Mapping[str, Swept], docs: Sequence[str], *, against: str, budgets: Sequence[float] = BUDGETS
) -> list[dict[str, Any]]:
    """What each direction is worth within every budget.

    Args:
        arms: by name, each with rows for some of the sites.
        docs: the document of every site.
        against: the arm that the others are compared with; it has all sites.
        budgets: nats per token.

    Returns:
        Per budget `nats` and by arm `n`, `success` and `ahead` (success of `against` less its own at the same sites),
        both intervals over documents, `cost` (mean nats) and `untouched` (the share of sites where no strength is
        within the budget: there nothing is added).
    """
    found = []
    for budget in budgets:
        taken = {name: _taken(arm, budget) for name, arm in arms.items()}
        base = dict(zip(arms[against].sites, taken[against][0], strict=True))
        row = {}
        for name, (hits, costs, none) in taken.items():
            names = [docs[site] for site in arms[name].sites]
            ones = np.ones(len(hits))
            ahead = np.array([base[site] for site in arms[name].sites]) - hits
            row[name] = {
                "n": len(hits),
                "success": share_interval(hits, ones, names).as_dict(),
                "ahead": ratio_interval(ahead, ones, names).as_dict(),
                "cost": float(costs.mean()),
                "untouched": float(none.mean()),
            }
        found.append({"nats": budget, "arms": row})
    return found


def _taken(arm: Swept, budget: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Of every site the success and the cost of its strongest strength within the budget, and whether there is none."""
    within = np.nan_to_num(arm.costs, nan=np.inf) <= budget
    none: NDArray[np.bool_] = within.sum(axis=1) == 0
    last = within.shape[1] - 1 - within[:, ::-1].argmax(1)
    rows = np.arange(len(within))
    return (
        np.where(none, 0.0, arm.hits[rows, last]),
        np.where(none, 0.0, np.nan_to_num(arm.costs[rows, last])),
        none,
    )
