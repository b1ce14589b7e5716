"""Weights as they lie on disk: names, shapes and formats from the heads of safetensors files, nothing loaded.

Used where the weights in memory are not the stored ones, or are not in memory yet: the checksum of a target that was
loaded in fewer bits, and the memory that a model will need.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from transformers import PreTrainedModel

_HEAD = 8  # bytes that say how long a file's header is


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file."""

    file: Path
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def stored_tensors(name: str, revision: str | None = None) -> dict[str, StoredTensor]:
    """The tensors of a model's safetensors files, by name; empty where the files are not on this machine (yet).

    Args:
        name: directory or hub name, of which only what was downloaded before is looked at.
        revision: of the hub.
    """
    folder = _folder(name, revision)
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(folder.glob("*.safetensors")) if folder is not None else ():
        tensors |= {key: StoredTensor(file, shape) for key, shape in _header(file).items()}
    return tensors


def stored_sha256(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> str | None:
    """`Target.sha256` of the stored weights of a model: one tensor in memory at a time.

    Args:
        model: what was made of them, for the names; in any precision.
        tensors: see `stored_tensors`.

    Returns:
        The checksum; None where the files name the weights otherwise than the model does.
    """
    alike: dict[int, list[str]] = {}  # tied weights are stored once, under one of their names
    named = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in named.items():
        alike.setdefault(id(parameter), []).append(name)
    wanted = {name: alike[id(parameter)] for name, parameter in named.items()}
    kept = {name: buffer for name, buffer in model.state_dict().items() if name not in named and name in tensors}
    wanted |= {name: [name] for name in kept}
    prefix = f"{model.base_model_prefix}."
    digest = hashlib.sha256()
    for name, names in sorted(wanted.items()):
        stored = next((key for one in names for key in (one, one.removeprefix(prefix)) if key in tensors), None)
        if stored is None:
            return None
        with safe_open(tensors[stored].file, framework="pt") as handle:
            weight = handle.get_tensor(stored)
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.float().contiguous().numpy().data)
    return digest.hexdigest()


def _folder(name: str, revision: str | None) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    try:
        kept = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # no hub name: said where it is loaded
        return None
    return Path(kept).parent if isinstance(kept, str) else None


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor; empty for a damaged file, which is named where it is loaded."""
    try:
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(_HEAD))
            head = json.loads(handle.read(min(length, file.stat().st_size)))
        return {key: tuple(about["shape"]) for key, about in head.items() if key != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return {}
