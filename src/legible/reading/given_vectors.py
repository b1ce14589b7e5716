"""Activations that somebody else captured: tensors in memory and files, checked before anything reads them.

Files are `.npy` (numbers only: pickled objects are refused) and `.safetensors`. A row is one activation, raw, of the
checkpoint's layer and width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from legible.display import visible
from legible.errors import UsageError

_SHORTEST = 1e-6  # below it a vector has no direction that float32 could tell
_NAMED = 8  # names of tensors that an error lists


def given_vectors(value: object, d_model: int, *, tensor: str | None = None) -> Float[Tensor, "n d_model"]:
    """Activations as float32 on the processor.

    Args:
        value: [n, d_model] or [d_model]: a tensor, an array, a list of either, or the path of a file.
        d_model: the width that is expected.
        tensor: which tensor of a safetensors file; needed where it holds several.

    Raises:
        UsageError: another type or shape, no row, values that are not finite, a zero vector, or a file that cannot
            be read.
    """
    if isinstance(value, str | Path):
        return checked_vectors(load_vectors(Path(value), tensor=tensor), d_model, visible(str(value)))
    if tensor is not None:
        raise UsageError("tensor= names a tensor of a safetensors file, and the vectors are no file.\n  Leave it out.")
    return checked_vectors(_as_tensor(value), d_model, "the tensor given")


def one_vector(value: object, d_model: int, *, tensor: str | None = None) -> Float[Tensor, " d_model"]:
    """The only row of what is given, as for `given_vectors`.

    Raises:
        UsageError: as there, or several rows.
    """
    rows = given_vectors(value, d_model, tensor=tensor)
    if len(rows) != 1:
        raise UsageError(f"{len(rows)} vectors, expected one.\n  Save the row that you mean by itself.")
    return rows[0]


def load_vectors(path: Path, *, tensor: str | None = None) -> Tensor:
    """The array of a `.npy` or `.safetensors` file, as it is there.

    Args:
        path: the file.
        tensor: see `given_vectors`.

    Raises:
        UsageError: not there, of another kind, pickled, damaged, or several tensors and none named.
    """
    if not path.is_file():
        raise UsageError(f"no file at {visible(str(path))}.\n  Expected a .npy or .safetensors file of activations.")
    if path.suffix == ".npy":
        if tensor is not None:
            raise UsageError(f"{visible(str(path))} holds one array without a name.\n  Leave the tensor's name out.")
        return _load_npy(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path, tensor)
    raise UsageError(
        f"{visible(str(path))} is neither .npy nor .safetensors; other formats may run code when they are opened.\n"
        "  Save the activations with numpy.save(FILE, array) or safetensors.torch.save_file({'resid': tensor}, FILE)."
    )


def checked_vectors(vectors: Tensor, d_model: int, name: str) -> Float[Tensor, "n d_model"]:
    """Rows of numbers as activations: float32, on the processor, without gradients.

    Raises:
        UsageError: no floating-point numbers, another shape or width, no row, or a row that is not finite or zero.
    """
    if not vectors.is_floating_point():
        raise UsageError(
            f"{name} holds {str(vectors.dtype).removeprefix('torch.')}, expected floating-point numbers.\n"
            "  The usual cause is a tensor of token ids instead of activations."
        )
    shape = tuple(vectors.shape)
    rows = vectors.detach()[None] if vectors.ndim == 1 else vectors.detach()
    if rows.ndim != 2:
        raise UsageError(
            f"{name} has shape {list(shape)}, expected [n, {d_model}].\n"
            "  The usual cause is a batch dimension: give one text's rows, such as vectors[0]."
        )
    if rows.shape[1] != d_model:
        raise UsageError(
            f"{name} has shape {list(shape)}, but the target of this checkpoint is {d_model} wide: expected "
            f"[n, {d_model}].\n  The usual cause is another model's activations, or a matrix that is transposed."
        )
    if not len(rows):
        raise UsageError(f"{name} holds no row: there is nothing to explain.")
    rows = rows.to("cpu", torch.float32)
    norms = rows.norm(dim=-1)
    wrong = ~(norms.isfinite() & (norms > _SHORTEST))
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        what = "NaN or infinite values" if not bool(norms[first].isfinite()) else "zeros alone, so no direction"
        raise UsageError(
            f"row {first} of {name} holds {what} ({int(wrong.sum())} of {len(rows)} rows do).\n"
            "  The usual cause is float16 that overflowed, or rows that were never filled."
        )
    return rows


def _as_tensor(value: object) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        if isinstance(value, Sequence) and value and all(isinstance(row, Tensor) for row in value):
            return torch.stack([row.detach().cpu() for row in value])
        if isinstance(value, np.ndarray | Sequence) and not isinstance(value, bytes):
            return torch.from_numpy(np.ascontiguousarray(_numbers(value)))
    except (RuntimeError, ValueError) as error:  # rows of different lengths
        raise UsageError(f"the vectors are no matrix: {error}.\n  Expected rows of the same width.") from None
    raise UsageError(
        f"the vectors are {_described(value)}, expected a tensor or an array of shape [n, d_model], or the path of a "
        ".npy or .safetensors file."
    )


def _numbers(value: Any) -> "np.ndarray[Any, Any]":
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise UsageError(f"the vectors hold {array.dtype}, expected floating-point numbers.")
    return array


def _described(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _load_npy(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(_numbers(np.load(path, allow_pickle=False))))
    except UsageError:
        raise
    except Exception:  # noqa: BLE001  of any kind, where the header is not what numpy expects
        raise UsageError(
            f"{visible(str(path))} is no array of numbers in numpy's format.\n"
            "  The usual cause is an array of objects, which is pickled and therefore refused, or a damaged file.\n"
            "  Save floats: numpy.save(FILE, array.astype('float32'))"
        ) from None


def _load_safetensors(path: Path, tensor: str | None) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys())
            chosen = tensor if tensor is not None else names[0] if len(names) == 1 else None
            if chosen in names:
                return file.get_tensor(chosen)
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{visible(str(path))} is damaged or no safetensors file: {visible(str(error))}\n  Write it again."
        ) from None
    shown = ", ".join(visible(name) for name in names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    what = f"no tensor {visible(tensor)!r}" if tensor is not None else "several tensors" if names else "no tensor"
    raise UsageError(
        f"{visible(str(path))} holds {what}{f'; there are: {shown}' if names else ''}.\n"
        "  Say which one: --tensor NAME on the command line, tensor=NAME in Python."
    )
