"""The training of instruments: one module for each that needs it, called as its reader in `legible.instruments`.

A module exposes `train(setting, out, progress)`: it fits on the documents of `setting.others` and writes the file that
the reader loads. An offer that says it is trained and has no module here fails this import, and so does the opposite.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from legible.errors import UsageError
from legible.instruments import INSTRUMENTS
from legible.instruments.base import Setting

Progress = Callable[[int, int], None]
Train = Callable[[Setting, Path, Progress], None]
"""Fits on (setting with `others`, the file to write, progress)."""


def _found() -> dict[str, Train]:
    """The trainings by the instrument's name.

    Raises:
        ImportError: one without its instrument, or an instrument without its training.
    """
    names = {module.name: module.name.replace("_", "-") for module in iter_modules(__path__)}
    wanted = {name for name, offer in INSTRUMENTS.items() if offer.trained}
    if differ := wanted ^ set(names.values()):
        raise ImportError(f"trainings and trained instruments differ in: {', '.join(sorted(differ))}.")
    return {name: import_module(f"{__name__}.{module}").train for module, name in names.items()}


TRAININGS = _found()


def train_instrument(name: str, setting: Setting, out: Path, progress: Progress = lambda done, total: None) -> None:
    """Train the instrument of this name and write its file.

    Raises:
        UsageError: none of that name is trained, or there are no rows to train on.
    """
    if name not in TRAININGS:
        raise UsageError(f"no training of an instrument {name!r}: expected {', '.join(TRAININGS)}.")
    if setting.others is None or not len(setting.others):
        raise UsageError(f"{name} needs rows to train on, and there are none.\n  Capture some: legible capture")
    out.parent.mkdir(parents=True, exist_ok=True)
    TRAININGS[name](setting, out, progress)
