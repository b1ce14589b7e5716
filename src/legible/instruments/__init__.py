"""Rival instruments on the same activations: they need no training, and the target itself does the reading."""

from collections.abc import Callable

from legible.errors import UsageError
from legible.instruments.base import Instrument
from legible.instruments.logit_lens import LogitLens
from legible.instruments.patchscopes import Patchscopes
from legible.instruments.selfie import SelfIE
from legible.models.target import Target

INSTRUMENTS: dict[str, Callable[[Target, int], Instrument]] = {
    "logit-lens": LogitLens,
    "patchscopes": Patchscopes,
    "selfie": SelfIE,
}
"""By name; the command line knows the names as `legible.config.choices.UNTRAINED`."""

__all__ = ["INSTRUMENTS", "Instrument", "LogitLens", "Patchscopes", "SelfIE", "make_instrument"]


def make_instrument(method: str, target: Target, layer: int) -> Instrument:
    """The instrument of this name with its default prompt.

    Raises:
        UsageError: no instrument of that name, or a layer out of range.
    """
    if method not in INSTRUMENTS:
        raise UsageError(f"no method {method!r}: expected {', '.join(INSTRUMENTS)}, or nla for a trained checkpoint.")
    return INSTRUMENTS[method](target, layer)
