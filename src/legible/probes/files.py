"""The files of what is fitted on activations: tensors and their description in one safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from legible.errors import UsageError
from legible.fileio import write_atomic


def save(path: Path, kind: str, about: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write one file of a kind; a good one at `path` stays until the new one is whole."""
    metadata = {"legible": json.dumps({"kind": kind, **about})}  # one key: safetensors writes several in random order
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def load(path: Path, kind: str, missing: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors that `save` wrote.

    Args:
        path: the file.
        kind: the kind it must be of.
        missing: what the message says where there is no file, and how to get one.

    Raises:
        UsageError: no such file, a broken one, or one of another kind.
    """
    if not path.is_file():
        raise UsageError(missing)
    try:
        with safe_open(path, framework="pt") as handle:
            about = json.loads((handle.metadata() or {}).get("legible", "{}"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UsageError(
            f"{path} is not a whole safetensors file ({error}), expected one of the kind {kind!r}.\n"
            "  The usual cause is a truncated copy. Copy it again from where it came."
        ) from None
    if (stored := about.pop("kind", "no kind")) != kind:
        raise UsageError(f"{path} holds {stored!r}, expected {kind!r}.")
    return about, tensors
