"""A role's LoRA as a PEFT folder on the unmodified target, written and read.

    adapter_config.json  adapter_model.safetensors

Names are the target's, block numbers included, although the role may keep some blocks only. A trained row of the head
for the stop token is a LoRA of rank 1 on that head: exact, and PEFT's own.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from legible.errors import UsageError
from legible.fileio import refuse_pointer
from legible.models.arch import Arch
from legible.models.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, StopRowHead, lora_config, lora_tensors, put_lora
from legible.models.place import one_line

_PEFT = "base_model.model."


@dataclass(frozen=True)
class Naming:
    """The names of a role's weights in its target, and back.

    prefix: of a base model's weights in the causal LM; empty where the role is a causal LM itself.
    blocks: path of the blocks in the causal LM, a dot behind it; numbers: which of the target's the role keeps.
    """

    prefix: str
    blocks: str
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, model: PreTrainedModel, numbers: Sequence[int] | None = None) -> "Naming":
        """Of a causal LM or base model that keeps these blocks of its target; absent: the first ones."""
        arch = Arch.find(model)
        base = f"{model.base_model_prefix}."
        kept = range(arch.n_layers) if numbers is None else numbers
        return cls(base if arch.base is model else "", f"{base}{arch.family.blocks}.", tuple(kept))

    def outward(self, name: str) -> str:
        """The target's name of a role's weight or module."""
        name = self.prefix + name
        if not name.startswith(self.blocks):
            return name
        place, dot, rest = name.removeprefix(self.blocks).partition(".")
        return f"{self.blocks}{self.numbers[int(place)]}{dot}{rest}"

    def inward(self, name: str) -> str:
        """The role's name of a target's weight or module.

        Raises:
            ValueError: it lies outside of what the role keeps.
        """
        if not name.startswith(self.prefix):
            raise ValueError(f"{name} is no part of this role")
        if name.startswith(self.blocks):
            number, dot, rest = name.removeprefix(self.blocks).partition(".")
            if not number.isdigit() or int(number) not in self.numbers:
                raise ValueError(f"{name} is in none of the blocks {list(self.numbers)}")
            name = f"{self.blocks}{self.numbers.index(int(number))}{dot}{rest}"
        return name.removeprefix(self.prefix)


def save_adapter(folder: Path, model: PreTrainedModel, names: Naming, over: str, dtype: torch.dtype) -> None:
    """Write the model's LoRA layers and its trained stop row over the target of this name, where it has any."""
    weights, head = lora_tensors(model), model.get_output_embeddings()
    stop_row = isinstance(head, StopRowHead)
    if not weights and not stop_row:
        return
    config = lora_config(model, [], rank=1, alpha=1)
    if weights:
        (injected,) = model.peft_config.values()  # type: ignore[attr-defined]
        config = cast(LoraConfig, copy.copy(injected))
    alphas = {
        key.rpartition(".lora_A.")[0]: _rank_and_alpha(model, config, key) for key in weights if ".lora_A." in key
    }
    if stop_row:
        path = next(path for path, module in model.named_modules() if module is head)
        weights |= _stop_row(head, path, dora=config.use_dora)
        alphas[path] = (1, 1.0)
    differing = {
        names.outward(path): pair for path, pair in alphas.items() if pair != (config.r, float(config.lora_alpha))
    }
    config.target_modules = sorted(names.outward(path) for path in alphas)
    config.rank_pattern = {path: rank for path, (rank, _) in differing.items()}
    config.alpha_pattern = {path: alpha for path, (_, alpha) in differing.items()}  # type: ignore[misc]
    config.base_model_name_or_path, config.task_type, config.inference_mode = over, "CAUSAL_LM", True
    config.save_pretrained(str(folder))
    stored = {_PEFT + names.outward(key): as_stored(tensor, dtype) for key, tensor in weights.items()}
    save_file(stored, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def _rank_and_alpha(model: PreTrainedModel, config: LoraConfig, key: str) -> tuple[int, float]:
    """Of the LoRA layer that a weight's key names: PEFT's scale is alpha / rank, or alpha / sqrt(rank) with rslora."""
    layer: Any = model.get_submodule(key.rpartition(".lora_A.")[0])
    ((name, rank),) = layer.r.items()
    return rank, round(float(layer.scaling[name]) * (math.sqrt(rank) if config.use_rslora else rank), 9)


def _stop_row(head: StopRowHead, path: str, *, dora: bool) -> dict[str, Tensor]:
    """The trained row as a LoRA of rank 1 and scale 1: B is 1 at the stop token and 0 elsewhere."""
    at = torch.zeros(head.head.out_features, 1, device=head.delta.device)
    at[head.stop_id] = 1.0
    tensors = {f"{path}.lora_A.weight": head.delta[None], f"{path}.lora_B.weight": at}
    if dora:  # lengths of the rows as they are: DoRA then changes nothing else
        tensors[f"{path}.lora_magnitude_vector"] = head.merged().weight.norm(dim=1)
    return tensors


def load_adapter(folder: Path, model: PreTrainedModel, names: Naming) -> None:
    """Put what `save_adapter` wrote into a model over the target's weights, in place.

    Raises:
        UsageError: a file that is missing, damaged or no LoRA.
        ValueError: it does not fit the model.
    """
    config = _config(folder / ADAPTER_CONFIG)
    dtype = Arch.find(model).embedding.weight.dtype
    weights = {
        names.inward(key.removeprefix(_PEFT)): tensor.to(dtype)
        for key, tensor in read_tensors(folder / ADAPTER_WEIGHTS).items()
    }
    head = model.get_output_embeddings()
    path = next((path for path, module in model.named_modules() if module is head), "")
    row = {key: weights.pop(key) for key in list(weights) if path and key.startswith(f"{path}.lora_")}
    paths = sorted(key.rpartition(".lora_A.")[0] for key in weights if ".lora_A." in key)
    for option in ("rank_pattern", "alpha_pattern"):
        inward = {names.inward(name): value for name, value in getattr(config, option).items()}
        setattr(config, option, {name: value for name, value in inward.items() if name != path})
    config.target_modules, config.task_type, config.inference_mode = paths, None, False
    if paths:
        put_lora(model, config, weights)
    if row:
        at = row[f"{path}.lora_B.weight"][:, 0].nonzero()[:, 0].tolist()
        if len(at) != 1:
            raise ValueError(f"its LoRA of {path} changes {len(at)} rows, expected the stop token's alone")
        stopping = StopRowHead(head, at[0])
        stopping.delta.data = row[f"{path}.lora_A.weight"][0].to(stopping.delta.device)
        model.set_output_embeddings(stopping)


def _config(path: Path) -> LoraConfig:
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("peft_type")
        if kind != "LORA":
            raise ValueError(f"peft_type {kind!r}, expected LORA")
        return LoraConfig.from_pretrained(str(path.parent))  # type: ignore[return-value]
    except Exception as error:  # of any kind: PEFT takes the file as it is
        raise UsageError(f"{path} cannot be used: {one_line(error)}\n  Copy the checkpoint again.") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UsageError: it is missing or damaged.
    """
    if not path.is_file():
        raise UsageError(f"no {path.name} in {path.parent}.\n  The usual cause is an incomplete copy. Copy it again.")
    refuse_pointer(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error}).\n  Copy the checkpoint again.") from error


def as_stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As it lies on disk: token ids as they are, weights in `dtype`."""
    kept = tensor.detach().cpu().contiguous()
    return kept.to(dtype) if kept.is_floating_point() else kept
