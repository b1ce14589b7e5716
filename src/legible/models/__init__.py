"""Target, verbalizer and reconstructor: transformers models behind three small interfaces.

The names below are imported when first used: what is known of models without torch, such as their names
(`legible.models.named`), is there at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legible.models.arch import FAMILIES, Arch
    from legible.models.reconstructor import Reconstructor
    from legible.models.target import Encoded, Target
    from legible.models.verbalizer import Verbalizer

_HOME = {
    "FAMILIES": "arch",
    "Arch": "arch",
    "Encoded": "target",
    "Reconstructor": "reconstructor",
    "Target": "target",
    "Verbalizer": "verbalizer",
}
__all__ = ["FAMILIES", "Arch", "Encoded", "Reconstructor", "Target", "Verbalizer"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'legible.models' has no attribute {name!r}")
    return getattr(import_module(f"legible.models.{_HOME[name]}"), name)
