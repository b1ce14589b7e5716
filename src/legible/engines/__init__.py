"""Batched generation: explanations from vectors, continuations from a target.

An engine is one file of this folder and one line of `ENGINES`; whoever reads or trains asks `make_engine` for one.
"""

import functools
from collections.abc import Callable

from legible.engines.base import Completion, Engine, Key
from legible.engines.continuations import continue_text
from legible.engines.local import LocalEngine
from legible.engines.search import METHODS, search_engine
from legible.errors import UsageError
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer

__all__ = ["ENGINES", "Completion", "Engine", "Key", "LocalEngine", "continue_text", "make_engine"]

ENGINES: dict[str, Callable[..., Engine]] = {
    "local": lambda verbalizer, _reconstructor: LocalEngine(verbalizer),
    **{method: functools.partial(search_engine, method) for method in METHODS},
}
"""Makers of engines on (verbalizer, reconstructor or None); searches take `budget` and `temperature` besides."""


def make_engine(
    verbalizer: Verbalizer, reconstructor: Reconstructor | None = None, name: str = "local", **options: float
) -> Engine:
    """The engine of that name over roles in memory.

    Args:
        verbalizer: writes; it may be trained between two calls.
        reconstructor: chooses, in a search.
        name: one of `ENGINES`.
        options: `budget` and `temperature` of a search.

    Raises:
        UsageError: there is none of that name, or a search without a reconstructor or with a budget below 1.
    """
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}: expected {', '.join(ENGINES)}.")
    return ENGINES[name](verbalizer, reconstructor, **options)
