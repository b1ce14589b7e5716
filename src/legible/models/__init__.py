"""Target, verbalizer and reconstructor: transformers models behind three small interfaces."""

from legible.models.arch import FAMILIES, Arch
from legible.models.reconstructor import Reconstructor
from legible.models.target import Encoded, Target
from legible.models.verbalizer import Verbalizer

__all__ = ["FAMILIES", "Arch", "Encoded", "Reconstructor", "Target", "Verbalizer"]
