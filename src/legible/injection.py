"""Where a vector enters a prompt: the only implementation, shared by training and reading.

Two modes, both by position and both differentiable in the vector and in the hidden states:
    replace   the vector, scaled, stands in place of one token embedding
    add       h + |h| unit(v) after a block, at one position (norm-matched; the scale plays no part)
Nothing here knows a tokenizer or a model; `models.verbalizer` says which block and which embedding.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.errors import InjectionError
from legible.vectors import unit

Scale = float | Literal["sqrt_d_model"] | None


@dataclass(frozen=True)
class Injection:
    """How one activation enters the verbalizer.

    mode: replace the placeholder's embedding, or add after a block.
    scale: norm of the replacing vector; `sqrt_d_model` is sqrt(d_model), None keeps the raw vector.
    block: the block (from 0) after which `add` adds; `replace` ignores it.
    """

    mode: Literal["replace", "add"] = "replace"
    scale: Scale = "sqrt_d_model"
    block: int = 1

    def __post_init__(self) -> None:
        if self.mode not in ("replace", "add"):
            raise InjectionError(f"unknown injection mode {self.mode!r}, expected 'replace' or 'add'.")
        if isinstance(self.scale, str) and self.scale != "sqrt_d_model":
            raise InjectionError(f"unknown injection scale {self.scale!r}, expected a number, 'sqrt_d_model' or null.")
        if isinstance(self.scale, int | float) and not (math.isfinite(self.scale) and self.scale > 0):
            raise InjectionError(f"injection scale {self.scale} is not a positive number.\n  Use null for raw vectors.")
        if self.block < 0:
            raise InjectionError(f"injection block {self.block} is negative; blocks count from 0.")


def scale_vector(vectors: Float[Tensor, "b d_model"], scale: Scale) -> Float[Tensor, "b d_model"]:
    """The vectors at norm `scale`, in float32; None returns them raw."""
    if scale is None:
        return vectors.float()
    return unit(vectors) * (math.sqrt(vectors.shape[-1]) if scale == "sqrt_d_model" else float(scale))


def replace_at(
    embeds: Float[Tensor, "b t d_model"], positions: Int[Tensor, "b"], vectors: Float[Tensor, "b d_model"]
) -> Float[Tensor, "b t d_model"]:
    """New embeddings with `vectors` at `positions`; `embeds` is untouched, gradients reach both.

    Raises:
        InjectionError: counts or widths differ, or a position lies outside the prompt.
    """
    at = _one_hot(embeds, positions, vectors)
    return torch.where(at, vectors.to(embeds.dtype).unsqueeze(1), embeds)


def add_after(
    block_output: Float[Tensor, "b t d_model"], positions: Int[Tensor, "b"], vectors: Float[Tensor, "b d_model"]
) -> Float[Tensor, "b t d_model"]:
    """New block output with |h| unit(v) added at `positions`, so that the vector weighs as much as the stream.

    Raises:
        InjectionError: counts or widths differ, or a position lies outside the prompt.
    """
    at = _one_hot(block_output, positions, vectors)
    norm = block_output.float().norm(dim=-1, keepdim=True)  # b t 1
    added = (block_output.float() + norm * unit(vectors).unsqueeze(1)).to(block_output.dtype)
    return torch.where(at, added, block_output)


def find_marker(ids: Int[Tensor, "b t"], marker_id: int, left: int, right: int) -> Int[Tensor, "b"]:
    """Position of the one marker token of every prompt, confirmed by its two neighbours.

    Raises:
        InjectionError: a prompt holds the marker not exactly once, or beside other tokens than promised.
    """
    found = ids == marker_id
    counts = found.sum(1)
    for row in (counts != 1).nonzero().flatten().tolist():
        raise InjectionError(
            f"prompt {row} holds the marker token {marker_id} {int(counts[row])} times, expected 1.\n{_CAUSE}"
        )
    positions = found.int().argmax(1)
    for row, pos in enumerate(positions.tolist()):
        around = tuple(int(ids[row, i]) if 0 <= i < ids.shape[1] else None for i in (pos - 1, pos + 1))
        if around != (left, right):
            raise InjectionError(
                f"prompt {row} has tokens {around[0]} and {around[1]} beside the marker, expected {left} and {right}.\n"
                f"{_CAUSE}"
            )
    return positions


_CAUSE = (
    "  The usual cause is a prompt template or tokenizer that differs from training.\n"
    "  Compare both with the checkpoint's contract: `legible contract check CHECKPOINT`"
)


def _one_hot(hidden: Tensor, positions: Tensor, vectors: Tensor) -> Tensor:
    """True at (b, positions[b]), shaped [b, t, 1]; the shared checks."""
    batch, length, width = hidden.shape
    if vectors.shape != (batch, width) or positions.shape != (batch,):
        raise InjectionError(
            f"{tuple(vectors.shape)} vectors and {tuple(positions.shape)} positions do not fit {batch} prompts of "
            f"width {width}.\n  The usual cause is an activation captured from another model.\n"
            "  Compare d_model: `legible contract check CHECKPOINT`"
        )
    outside = (positions < 0) | (positions >= length)
    if bool(outside.any()):
        row = int(outside.int().argmax())
        raise InjectionError(
            f"prompt {row} has {length} tokens, so there is no position {int(positions[row])}.\n{_CAUSE}"
        )
    return (torch.arange(length, device=hidden.device) == positions.unsqueeze(1)).unsqueeze(-1)
