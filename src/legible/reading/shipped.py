"""The pairs that ship inside this package, each a checkpoint's folder under `pairs/`, known by the folder's name.

Naming one means the shipped pair in every verb that takes a checkpoint; a folder of the same name is reached by its
path (`./NAME`). A pair that ships without its target names it in its contract.
"""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from legible import languages
from legible.contract import ModelContract, read_contract

WORLD = "builtin"
"""The pair of the built-in world, whose target ships with it."""


def shipped_names() -> list[str]:
    """What the shipped pairs are called."""
    folder = _folder()
    return sorted(path.name for path in folder.iterdir() if (path / "av").is_dir()) if folder.is_dir() else []


def shipped(name: str | os.PathLike[str]) -> Path | None:
    """The folder of the shipped pair of this name; None where none is called so.

    Example:
        >>> shipped("builtin").name, shipped("./builtin")
        ('builtin', None)
    """
    return _folder() / str(name) if str(name) in shipped_names() else None


def shipped_target(name: str) -> Path | None:
    """The target that ships with the pair of this name; None where it ships without, or none is called so."""
    folder = shipped(name)
    target = folder / "target" if folder is not None else None
    return target if target is not None and target.is_dir() else None


def shipped_report(name: str, kind: str) -> dict[str, Any] | None:
    """What was measured of the shipped pair of this name, where only a corpus that does not ship could measure it.

    Args:
        name: the pair's.
        kind: `evaluation` or `truth`.

    Returns:
        The report; None for other checkpoints, a pair whose language writes texts of its own, or without a report.
    """
    folder = shipped(name)
    file = folder / f"{kind}.json" if folder is not None else None
    if folder is None or file is None or not file.is_file():
        return None
    contract = read_contract(folder / "av")
    extra = contract.legible if isinstance(contract, ModelContract) else None
    language = languages.get(extra.language) if extra is not None and extra.language is not None else None
    if language is not None and language.documents("test", 0, 0) is not None:
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _folder() -> Path:
    return Path(str(files("legible") / "pairs"))
