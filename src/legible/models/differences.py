"""What a role changes of its target, on disk: never the target's own weights.

    adapter_config.json, adapter_model.safetensors   LoRA: a PEFT folder on the unmodified target, readable by PEFT
    own.safetensors                                  weights that the role has for itself

Both go by the target's names, its block numbers included, although the role may keep some blocks only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from legible.errors import ContractError, UsageError
from legible.models.arch import Arch
from legible.models.lora import ADAPTER_CONFIG, LowRankHead
from legible.models.peft_folder import Naming, as_stored, load_adapter, read_tensors, save_adapter

T = TypeVar("T")
OWN = "own.safetensors"
_LEVELS = 7  # of 4 bits on either side of zero
_GROUP = 64  # most columns that share a step


def holds_differences(folder: Path) -> bool:
    """Whether a role's folder holds differences from a target instead of a whole model."""
    return not (folder / "config.json").is_file() and any((folder / name).is_file() for name in (ADAPTER_CONFIG, OWN))


def needed(target: T | None, folder: Path) -> T:
    """The target that a folder's differences are over.

    Raises:
        UsageError: none was given.
    """
    if target is None:
        raise UsageError(
            f"{folder} holds differences from a target, and no target was given.\n"
            "  Load the whole checkpoint, whose contract names it, or write a whole model:\n"
            "  legible export CHECKPOINT --form merged --out NEW"
        )
    return target


def check_kept(folder: Path, model: PreTrainedModel, blocks: Sequence[int] | None) -> None:
    """Prepare a whole model that keeps some blocks only: its token embedding stays the target's.

    Raises:
        ContractError: another number of blocks than the contract says.
    """
    if blocks is None:
        return
    arch = Arch.find(model)
    if arch.n_layers != len(blocks):
        raise ContractError(
            f"{folder} keeps {arch.n_layers} blocks, its contract says {len(blocks)}: {list(blocks)}.\n"
            "  The usual cause is a sidecar of another checkpoint. Restore its own."
        )
    arch.embedding.weight.requires_grad_(False)


def head_taken_out(model: PreTrainedModel) -> dict[str, Tensor]:
    """Tie a model's head to its embedding, in place, and return the head that it had by its name for `own.safetensors`.

    A head over some ids does not fit an ordinary model's folder, whose head has a row for each token.
    """
    head = model.get_output_embeddings()
    path = next(path for path, module in model.named_modules() if module is head)
    tied = nn.utils.skip_init(nn.Linear, *reversed(Arch.find(model).embedding.weight.shape), bias=False)
    tied.weight = Arch.find(model).embedding.weight
    model.set_output_embeddings(tied)
    model.config.tie_word_embeddings = True
    return {f"{path}.weight": head.weight}


def save_differences(
    folder: Path,
    model: PreTrainedModel,
    over: str,
    blocks: Sequence[int] | None,
    beside: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> None:
    """Write what trains in a role that shares the rest with its target.

    Args:
        folder: gets the files.
        model: a causal LM or base model; LoRA and every other weight that trains are its differences.
        over: the target's name.
        blocks: of the target, as kept; absent: the first ones.
        beside: tensors of the role outside of the model, kept under their names.
        dtype: number format on disk.
    """
    names = Naming.of(model, blocks)
    folder.mkdir(parents=True, exist_ok=True)
    save_adapter(folder, model, names, over, dtype)
    weights = {
        names.outward(name): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "lora_" not in name and not name.endswith(".delta")
    }
    save_own(folder, {**weights, **beside}, dtype)


def save_own(folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write `own.safetensors`, where there is something to write."""
    if tensors:
        save_file({name: as_stored(tensor, dtype) for name, tensor in tensors.items()}, folder / OWN)


def pack_head(folder: Path, target: PreTrainedModel) -> float:
    """Keep the head in a folder's `own.safetensors` as its difference from the target's rows, in 4 bits, in place.

    Up to 64 columns of a row share a step, the largest difference among them over 7.

    Args:
        folder: of a role with a separate head over some output ids; another is left as it is.
        target: whose head it started from, of an even width.

    Returns:
        Share of the squared difference that is kept, in [0, 1].
    """
    tensors = read_tensors(folder / OWN)
    name = next((name for name in tensors if name.endswith("head.weight")), None)
    if name is None or "output_ids" not in tensors:
        return 1.0
    rows = rows_of(target, tensors["output_ids"]).weight.float()
    delta = tensors.pop(name).float() - rows
    groups = delta.view(len(delta), -1, _group(delta.shape[1]))
    step = (groups.abs().amax(-1, keepdim=True) / _LEVELS).clamp_min(1e-7).half()
    levels = (groups / step.float()).round().clamp(-_LEVELS, _LEVELS).view(delta.shape)
    lost = (delta - (levels.view(groups.shape) * step.float()).view(delta.shape)).square().sum()
    nibbles = (levels + _LEVELS).to(torch.uint8)
    stem = name.removesuffix(".weight")
    packed = {f"{stem}.levels": nibbles[:, ::2] | nibbles[:, 1::2] << 4, f"{stem}.step": step[..., 0]}
    save_file({name: part.contiguous() for name, part in {**tensors, **packed}.items()}, folder / OWN)
    return 1.0 - float(lost / delta.square().sum())


def _group(width: int) -> int:
    """How many columns share a step: the largest part of the width up to `_GROUP`."""
    return next(size for size in range(min(_GROUP, width), 0, -1) if width % size == 0)


def _unpacked_head(
    tensors: dict[str, Tensor], model: PreTrainedModel, beside: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The whole head of what `pack_head` wrote, taken out of `tensors`; nothing where there is none."""
    stem = next((name.removesuffix(".levels") for name in tensors if name.endswith(".levels")), None)
    if stem is None:
        return {}
    rows = rows_of(model, beside.get("output_ids")).weight
    nibbles, step = tensors.pop(f"{stem}.levels"), tensors.pop(f"{stem}.step", None)
    groups = rows.shape[1] // _group(rows.shape[1])
    if step is None or (*nibbles.shape, *step.shape) != (len(rows), rows.shape[1] // 2, len(rows), groups):
        raise ValueError(f"{stem} has {tuple(nibbles.shape)} levels for a head of shape {tuple(rows.shape)}")
    levels = torch.stack([nibbles & 15, nibbles >> 4], -1).flatten(1).float() - _LEVELS
    delta = (levels.view(len(levels), groups, -1) * step.float()[..., None]).view(levels.shape)
    return {f"{stem}.weight": rows.float() + delta.to(rows.device)}


def load_differences(folder: Path, model: PreTrainedModel, blocks: Sequence[int] | None) -> dict[str, Tensor]:
    """Put what a role's folder holds beside a whole model, or instead of one, into the model, in place.

    Args:
        folder: what `save_differences` wrote, or a whole model's folder.
        model: a sharing copy of the target or of some of its blocks, or the whole model.
        blocks: of the target, as kept; absent: the first ones.

    Returns:
        The tensors of the role outside of the model.

    Raises:
        UsageError: damaged weights.
        ContractError: differences from another target.
    """
    try:
        if holds_differences(folder):
            model.requires_grad_(False)
            if (folder / ADAPTER_CONFIG).is_file():
                load_adapter(folder, model, Naming.of(model, blocks))
        return _put_own(folder, model, blocks)
    except UsageError:
        raise
    except ValueError as error:
        raise ContractError(
            f"{folder} does not fit the target: {error}.\n"
            "  The usual cause is another target, or other blocks of it than the contract says."
        ) from error


def _put_own(folder: Path, model: PreTrainedModel, blocks: Sequence[int] | None) -> dict[str, Tensor]:
    """Replace weights of the model by those of `own.safetensors`, in place.

    Returns:
        The tensors of the role outside of the model; empty where there is no such file.

    Raises:
        UsageError: a damaged file.
        ValueError: a weight that the model does not have, or of another width.
    """
    if not (folder / OWN).is_file():
        return {}
    names, dtype = Naming.of(model, blocks), Arch.find(model).embedding.weight.dtype
    tensors = read_tensors(folder / OWN)
    beside = {name: tensors.pop(name) for name in list(tensors) if "." not in name or name.startswith("injection_map.")}
    head, embedding = model.get_output_embeddings(), Arch.find(model).embedding
    tied = head is not None and getattr(head, "weight", None) is embedding.weight
    of_head = {name: tensors.pop(name) for name in list(tensors) if name.endswith((".down", ".up"))}
    tensors |= _unpacked_head(tensors, model, beside)
    for name, tensor in tensors.items():
        path, _, leaf = names.inward(name).rpartition(".")
        module = _module(model, path)
        old = getattr(module, leaf, None)
        if not isinstance(old, nn.Parameter):
            raise ValueError(f"no counterpart for {name}")
        if old.shape != tensor.shape and (module is not head or old.shape[1:] != tensor.shape[1:]):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the target's {tuple(old.shape)}")
        setattr(module, leaf, nn.Parameter(tensor.to(old.device, dtype)))
        if module is head:
            head.out_features = len(tensor)  # type: ignore[assignment]
            tied = model.config.tie_word_embeddings = False
    if tied:
        head.weight = embedding.weight
    if of_head:
        _change_head(model, {name.rpartition(".")[2]: tensor.to(dtype) for name, tensor in of_head.items()}, beside)
    return beside


def _change_head(model: PreTrainedModel, change: Mapping[str, Tensor], beside: Mapping[str, Tensor]) -> None:
    """Put a low-rank change beside the target's head, or beside its rows of the output ids, in place."""
    if change.keys() != {"down", "up"}:
        raise ValueError(f"of a changed head it holds {' and '.join(change)}, expected down and up")
    head = rows_of(model, beside.get("output_ids"))
    down, up = (change[part].to(head.weight.device) for part in ("down", "up"))
    if up.shape != (len(head.weight), len(down)) or down.shape[1] != head.weight.shape[1]:
        raise ValueError(
            f"a head of shape {tuple(head.weight.shape)} has no change {tuple(up.shape)} {tuple(down.shape)}"
        )
    model.set_output_embeddings(LowRankHead(head, down, up))
    model.config.tie_word_embeddings = False


def rows_of(model: PreTrainedModel, ids: Tensor | None) -> nn.Linear:
    """The model's head, or a frozen one of its rows of some token ids."""
    head = model.get_output_embeddings()
    if ids is None:
        return head
    rows = head.weight.detach()[ids.to(head.weight.device)].clone()
    rows_head = nn.utils.skip_init(nn.Linear, rows.shape[1], rows.shape[0], bias=False)
    rows_head.weight = nn.Parameter(rows, requires_grad=False)
    return rows_head


def _module(model: PreTrainedModel, path: str) -> nn.Module:
    """The module at a path, inside the LoRA layer around it where there is one."""
    try:
        module = model.get_submodule(path)
    except AttributeError:
        raise ValueError(f"no counterpart for {path}") from None
    return module.get_base_layer() if isinstance(module, LoraLayer) else module  # type: ignore[return-value]
