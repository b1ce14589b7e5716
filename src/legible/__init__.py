"""Read what a language model is thinking, in words, and see how far each word can be trusted.

    >>> import legible
    >>> reader = legible.load("builtin")
    >>> reader.read("Our hero Pavel rested beside the desert.", positions=-1)[0].explanation
    'Pavel is at the desert. The sentence closes.'

`help(legible.load)` and docs/python.md say the rest. Names are imported when first used, so that `import legible` is
instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legible.archive.searching import Archive
    from legible.config import Placement, RunConfig
    from legible.data.store import Store
    from legible.errors import LegibleError, UsageError
    from legible.models.target import Target
    from legible.reading.reading import Reading
    from legible.reading.scoring import Score
    from legible.recipes import resolve
    from legible.recipes.run import run
    from legible.session.claims import Claims
    from legible.session.opening import load
    from legible.session.readings import Explanations, Readings
    from legible.session.session import Session
    from legible.steer.steered import Steered

__version__ = "0.1.0"

_HOME = {
    "Archive": "legible.archive.searching",
    "Claims": "legible.session.readings",
    "Explanations": "legible.session.readings",
    "LegibleError": "legible.errors",
    "Placement": "legible.config",
    "Reading": "legible.reading.reading",
    "Readings": "legible.session.readings",
    "RunConfig": "legible.config",
    "Score": "legible.reading.scoring",
    "Session": "legible.session.session",
    "Steered": "legible.steer.steered",
    "Store": "legible.data.store",
    "Target": "legible.models.target",
    "UsageError": "legible.errors",
    "load": "legible.session.opening",
    "resolve": "legible.recipes",
    "run": "legible.recipes.run",
}
__all__ = [
    "Archive",
    "Claims",
    "Explanations",
    "LegibleError",
    "Placement",
    "Reading",
    "Readings",
    "RunConfig",
    "Score",
    "Session",
    "Steered",
    "Store",
    "Target",
    "UsageError",
    "__version__",
    "load",
    "resolve",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "languages":
        return import_module("legible.languages")
    if name not in _HOME:
        raise AttributeError(f"module 'legible' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """What is published, for completion."""
    return sorted([*__all__, "languages"])
