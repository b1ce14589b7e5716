"""Instruments: readers of the same activations, all of one kind, each one file here and one entry of the register.

The register is `legible.config.choices.INSTRUMENTS`, so that the command line knows the names without torch. A file
that offers an instrument and is missing there fails this import, and so does a name without its file.
"""

from importlib import import_module
from pkgutil import iter_modules

from legible.config import choices
from legible.errors import UsageError
from legible.instruments.base import Instrument, Needs, Offer, Said, Scored, Setting
from legible.instruments.logit_lens import LogitLens
from legible.instruments.patchscopes import Patchscopes
from legible.instruments.selfie import SelfIE

__all__ = [
    "INSTRUMENTS", "Instrument", "LogitLens", "Needs", "Offer", "Patchscopes", "Said", "Scored", "SelfIE", "Setting",
    "make_instrument", "offer",
]  # fmt: skip


def _registered(names: tuple[str, ...]) -> dict[str, Offer]:
    """The offers of the register's names, in its order.

    Raises:
        ImportError: a module here offers an instrument under a name that is not in the register, or a name has none.
    """
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    offers = {one.OFFER.name: one for one in modules if hasattr(one, "OFFER")}
    misnamed = [name for name, one in offers.items() if one.__name__ != f"{__name__}.{name.replace('-', '_')}"]
    if wrong := sorted({*misnamed, *(offers.keys() ^ set(names))}):
        raise ImportError(
            f"instruments: the register and the modules differ in {', '.join(wrong)}.\n"
            "  Every NAME-OF-IT is one entry of legible.config.choices.INSTRUMENTS and the OFFER of name_of_it.py."
        )
    return {name: offers[name].OFFER for name in names}


INSTRUMENTS = _registered(choices.INSTRUMENTS)
"""Every instrument there is beside the pair itself, by name, in the order of reports."""


def offer(name: str) -> Offer:
    """The instrument of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in INSTRUMENTS:
        raise UsageError(f"no instrument {name!r}: expected {', '.join(INSTRUMENTS)}, or nla for a checkpoint's pair.")
    return INSTRUMENTS[name]


def make_instrument(name: str, setting: Setting) -> Instrument:
    """The instrument of this name in a setting.

    Raises:
        UsageError: no instrument of that name, a layer out of range, or a setting that lacks what it needs.
    """
    return offer(name).make(setting)
