"""Memory that models will need, against what is free: said before anything is loaded or trained, instead of dying.

Estimates, in bytes, of what comes on top of what the process holds already:
    weights      parameters times bytes each; 8 or 4 bits for the linear maps inside blocks where these are quantized
    cache        keys and values of every block for all rows that are written together, twice: they grow by a copy
    activations  what a forward holds at once, or in training what every block keeps for the backward
    logits       copies over the vocabulary
    training     gradient, and AdamW's two moments or Muon's one, in float32, for every parameter that trains
The factors are those of Llama-shaped blocks; `benchmarks/placement.py` holds them against measured peaks.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from legible.config import Placement
from legible.errors import NotEnoughMemoryError, UsageError
from legible.models.arch import Arch
from legible.models.placement import device_of, dtype_of, in_full
from legible.models.stored import StoredTensor, stored_tensors

VARIABLE = "LEGIBLE_FREE_MEMORY"
"""Environment variable: how many GiB count as free, in place of what the machine says."""
GIB = 2**30
FLOAT = 4  # bytes of a float32
GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where version 2 and version 1 of control groups say what a container may take, and what it has taken."""
_BITS = {"8bit": 8.0, "4bit": 4.5}  # 4.5: one float32 scale for 64 weights of 4 bits
_SMALLER = (("bfloat16", "none"), ("bfloat16", "8bit"), ("bfloat16", "4bit"))
_IN_BLOCK = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Size:
    """What a model's needs follow from, all counted in elements.

    parameters: all of them; maps: of these, in linear maps inside blocks. width: of the stream; inner: of the MLP;
    keys: of one token's keys in one block.
    """

    parameters: int
    maps: int
    blocks: int
    width: int
    inner: int
    keys: int
    vocabulary: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Size":
        """The size of a model in memory."""
        arch = Arch.find(model)
        config: dict[str, Any] = arch.base.config.to_dict()
        heads = int(arch.base.config.num_attention_heads)
        head = config.get("head_dim") or arch.d_model // heads
        held = sum(int(m.weight.numel()) for m in arch.blocks.modules() if isinstance(m, nn.Linear | Conv1D))
        maps = sum(one * other for one, other in maps_in(model))
        return cls(
            parameters=sum(parameter.numel() for parameter in model.parameters()) - held + maps,
            maps=maps,
            blocks=arch.n_layers,
            width=arch.d_model,
            inner=int(config.get("intermediate_size") or 4 * arch.d_model),
            keys=int(config.get("num_key_value_heads") or heads) * int(head),
            vocabulary=arch.embedding.num_embeddings,
        )

    def cache(self, rows: int, length: int, each: int = FLOAT) -> int:
        """Keys and values of `rows` texts of `length` tokens, of `each` bytes, and the logits of their next tokens."""
        return 4 * self.blocks * self.keys * rows * length * each + 4 * FLOAT * rows * self.vocabulary

    def forward(self, tokens: int, each: int = FLOAT) -> int:
        """What a forward of `tokens` tokens holds at once where nothing is kept for a backward."""
        return tokens * (12 * self.width + 4 * self.inner) * each

    def backward(self, tokens: int, *, logits: int = 0, each: int = FLOAT, blocks: int | None = None) -> int:
        """What a forward keeps for its backward, in `blocks` blocks, with `logits` tokens whose next one is scored."""
        kept = (self.blocks if blocks is None else blocks) * (14 * self.width + 4 * self.keys + 4 * self.inner)
        return tokens * kept * each + 5 * FLOAT * logits * self.vocabulary


def maps_in(model: PreTrainedModel) -> list[tuple[int, int]]:
    """Inputs and outputs of every linear map inside the blocks, which adapters and quantization are about."""
    inside = Arch.find(model).blocks.modules()
    return [
        (m.in_features, m.out_features) if isinstance(m, nn.Linear) else (m.nx, m.nf)
        for m in inside
        if isinstance(m, nn.Linear | Conv1D)
    ]


def weights(tensors: Mapping[str, StoredTensor], dtype: torch.dtype, quantize: str = "none") -> int:
    """Bytes of a stored model in memory under a dtype and quantization."""
    packed = 0
    if quantize != "none":
        packed = sum(one.size for name, one in tensors.items() if len(one.shape) == 2 and _IN_BLOCK.search(name))
    plain = sum(one.size for one in tensors.values()) - packed
    return int(plain * dtype.itemsize + packed * _BITS.get(quantize, 0.0) / 8)


def check_loading(
    models: Sequence[str], place: Placement, *, trained: Sequence[str] = (), revision: str | None = None
) -> None:
    """Refuse models that together do not fit the free memory of their device; those not on this machine do not count.

    Args:
        models: directories or hub names of what is loaded as `place` says.
        place: the device, and how the weights are held.
        trained: directories of what is loaded in float32 whatever `place` says.
        revision: of hub names.

    Raises:
        NotEnoughMemoryError: with the formats that would fit.
    """
    others = []
    for dtype, quantize in _SMALLER:
        smaller = place.model_copy(update={"dtype": dtype, "quantize": quantize})
        options = f"--dtype {dtype}" + (f" --quantize {quantize}" if quantize != "none" else "")
        others.append((options, loading_bytes(models, smaller, trained=trained, revision=revision)))
    needed = loading_bytes(models, place, trained=trained, revision=revision)
    check_memory("loading " + ", ".join([*models, *trained]), needed, device_of(place), others)


def loading_bytes(
    models: Sequence[str], place: Placement, *, trained: Sequence[str] = (), revision: str | None = None
) -> int:
    """Bytes of models in memory, arguments as for `check_loading`; 0 where none is on this machine.

    Beside the weights one tensor stands in float32: what checksums and conversions hold at a time.
    """
    stored = [(name, place, stored_tensors(name, revision)) for name in models]
    stored += [(name, in_full(place), stored_tensors(name)) for name in trained]
    device, largest, total = device_of(place), 0, 0
    for name, held, tensors in stored:
        if tensors:
            total += weights(tensors, dtype_of(held, device, name), held.quantize)
            largest = max(largest, *(one.size for one in tensors.values()))
    return total + FLOAT * largest


def check_memory(what: str, needed: int, device: torch.device, others: Sequence[tuple[str, int]] = ()) -> None:
    """Refuse what needs more than is free.

    Args:
        what: the work, as the message calls it.
        needed: bytes, beyond what the process holds.
        device: where.
        others: (options, bytes) of other settings, nearest first.

    Raises:
        NotEnoughMemoryError: names the needs, what is free, and the nearest settings that fit.
    """
    free = free_memory(device)
    if needed <= free:
        return
    fit = [(options, size) for options, size in others if size <= free]
    if fit:
        advice = "Nearest that fits: " + ", or ".join(f"{options} ({gib(size)})" for options, size in fit[:3])
    elif others:
        options, size = min(others, key=lambda other: other[1])
        advice = f"Nothing else fits either; the smallest is {options} ({gib(size)})"
    else:
        advice = "Take a smaller model or a larger machine"
    raise NotEnoughMemoryError(
        f"{what} needs about {gib(needed)}, and {gib(free)} are free on {device}.\n"
        f"  {advice}.\n"
        f"  Where the estimate is wrong, say how many GiB there are: {VARIABLE}={needed / GIB + 1:.0f} legible ..."
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a device.

    On the processor under Linux: what the kernel says is available, or less where a control group allows less.

    Raises:
        UsageError: `LEGIBLE_FREE_MEMORY` is no number.
    """
    given = os.environ.get(VARIABLE)
    if given:
        try:
            return int(float(given) * GIB)
        except (ValueError, OverflowError):
            raise UsageError(f"{VARIABLE} is {given!r}, expected a number of GiB such as 12.5.") from None
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return int(min(psutil.virtual_memory().available, _group_room()))


def gib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / GIB:.1f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:.0f} MiB"


def _group_room() -> float:
    """Bytes that the control group leaves: pages of files that it can drop count as free."""
    for folder, limit, used in GROUPS:
        try:
            most, now = ((folder / name).read_text().strip() for name in (limit, used))
            stats = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if most != "max":
            return int(most) - int(now) + int(stats.get("inactive_file", stats.get("total_inactive_file", 0)))
    return float("inf")
