"""Read what a language model is thinking, in words, and see how far each word can be trusted.

    >>> import legible
    >>> for reading in legible.load("builtin").read("Our hero Pavel rested beside the desert."):
    ...     print(reading.token, reading.explanation)

Names are imported when first used, so that `import legible` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legible.config import Placement, RunConfig
    from legible.data.store import Store
    from legible.errors import LegibleError, UsageError
    from legible.models.target import Target
    from legible.reading.reader import Reader, Reading, load
    from legible.recipes import resolve
    from legible.recipes.run import run

__version__ = "0.1.0"

_HOME = {
    "LegibleError": "legible.errors",
    "Placement": "legible.config",
    "Reader": "legible.reading.reader",
    "Reading": "legible.reading.reader",
    "RunConfig": "legible.config",
    "Store": "legible.data.store",
    "Target": "legible.models.target",
    "UsageError": "legible.errors",
    "load": "legible.reading.reader",
    "resolve": "legible.recipes",
    "run": "legible.recipes.run",
}
__all__ = [
    "LegibleError",
    "Placement",
    "Reader",
    "Reading",
    "RunConfig",
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
