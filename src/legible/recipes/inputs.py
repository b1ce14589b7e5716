"""What the verbs open before their work: threads, a target, a store."""

from collections.abc import Sequence
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from legible.config import AUTO, Placement
from legible.data.store import Store
from legible.errors import UsageError
from legible.models.target import Target


def use_threads(threads: int) -> None:
    """Threads of this process; results are bit-identical only at the same number.

    Raises:
        UsageError: fewer than one.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}, expected at least 1.")
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")  # numpy and scipy have threads of their own


def open_target(
    name: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    layers: Sequence[int] = (),
    place: Placement = AUTO,
) -> Target:
    """Load a target and prove that the given layers are what they are called.

    Raises:
        UsageError: no such model, pickle weights, or a layer out of range.
        UnsupportedModelError: an unknown family, or a failed self-check.
    """
    target = Target.load(name, revision=revision, trust_remote_code=trust_remote_code, place=place)
    for layer in layers:
        target.self_check(layer)
    return target


def open_store(path: Path) -> Store:
    """Open a finished store.

    Raises:
        UsageError: there is nothing at `path`.
        StoreError: it is unfinished or damaged.
    """
    if not path.exists():
        raise UsageError(f"no store at {path}.\n  Make one with legible capture.")
    return Store.open(path)
