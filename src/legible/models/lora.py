"""LoRA inside a transformers model, by PEFT: put in place, counted, merged for saving.

The model keeps its class, so the rest of Legible does not notice. Only the linear maps inside blocks are adapted;
the fused experts of a mixture of experts and everything outside the blocks stay frozen.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from legible.config import AdapterConfig
from legible.models.arch import Arch
from legible.models.placement import refuse_quantized

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


class ChangedHead(nn.Module):
    """A frozen output head with something small beside it that trains."""

    head: nn.Linear

    def merged(self) -> nn.Linear:
        """An ordinary separate head, no longer tied to the embedding."""
        head = copy.deepcopy(self.head)
        head.weight = nn.Parameter(self.changed())
        return head

    def changed(self) -> Float[Tensor, "rows d_model"]:
        """The weights of the ordinary head."""
        raise NotImplementedError


class LowRankHead(ChangedHead):
    """A frozen output head with a low-rank change of its rows: what a head trained in full is cut to."""

    def __init__(self, head: nn.Linear, down: Float[Tensor, "r d_model"], up: Float[Tensor, "rows r"]) -> None:
        super().__init__()
        self.head = head
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    def forward(self, hidden: Float[Tensor, "... d_model"]) -> Float[Tensor, "... rows"]:
        """The head's logits with those of the change added."""
        return self.head(hidden) + F.linear(F.linear(hidden, self.down), self.up)

    @torch.no_grad()
    def changed(self) -> Float[Tensor, "rows d_model"]:
        """The weights of the ordinary head."""
        return self.head.weight + self.up @ self.down


class StopRowHead(ChangedHead):
    """A frozen output head with one trainable row: a model that never saw its stop token can learn to emit it."""

    def __init__(self, head: nn.Linear, stop_id: int) -> None:
        super().__init__()
        self.head = head
        self.stop_id = stop_id
        self.delta = nn.Parameter(torch.zeros(head.in_features, device=head.weight.device))

    def forward(self, hidden: Float[Tensor, "... d_model"]) -> Float[Tensor, "... vocab"]:
        """The head's logits with `hidden @ delta` added to the stop token's."""
        logits = self.head(hidden)
        stop = (torch.arange(logits.shape[-1], device=logits.device) == self.stop_id).to(logits.dtype)
        return logits + (hidden @ self.delta.to(hidden.dtype)).unsqueeze(-1) * stop

    @torch.no_grad()
    def changed(self) -> Float[Tensor, "rows d_model"]:
        """The weights of the ordinary head."""
        weight = self.head.weight.clone()
        weight[self.stop_id] += self.delta.to(weight.dtype)
        return weight


def add_lora(model: PreTrainedModel, config: AdapterConfig, name: str, seed: int) -> None:
    """Freeze the model and put LoRA layers around the linear maps inside its blocks, in place.

    Args:
        model: a causal LM or base model of a supported family.
        config: rank, alpha and variant.
        name: what the adapter is called in the parameters' names.
        seed: of the random half; the other half starts at zero, so nothing changes at first.
    """
    model.requires_grad_(False)
    blocks = {id(module) for module in Arch.find(model).blocks.modules()}
    inside = {path: module for path, module in model.named_modules() if id(module) in blocks}
    targets = [path for path, module in inside.items() if isinstance(module, nn.Linear | Conv1D)]
    lora = lora_config(model, targets, rank=config.rank, alpha=config.alpha, rslora=config.rslora, dora=config.dora)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(lora, model, adapter_name=name)
    for path, part in model.named_modules():
        if path.rpartition(".")[2].startswith("lora_"):  # float32 over whatever numbers the frozen weights have
            part.to(torch.float32)


def lora_config(
    model: nn.Module, modules: Sequence[str], *, rank: int, alpha: float, rslora: bool = False, dora: bool = False
) -> LoraConfig:
    """PEFT's configuration for the linear maps at these paths of `model`.

    Args:
        model: what is adapted.
        modules: whole paths of its linear maps.
        rank, alpha: the update is B A times alpha / rank.
        rslora: times alpha / sqrt(rank) instead (arXiv 2312.03732).
        dora: magnitudes trained apart (arXiv 2402.09353).
    """
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        use_rslora=rslora,
        use_dora=dora,
        target_modules=list(modules),
        fan_in_fan_out=any(isinstance(model.get_submodule(path), Conv1D) for path in modules),
        bias="none",
    )


def has_lora(model: nn.Module) -> bool:
    """Whether LoRA layers are in the model."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


def lora_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of the model's LoRA layers as PEFT names them, below the model's own paths; empty without any."""
    if not has_lora(model):
        return {}
    (name,) = model.peft_config  # type: ignore[attr-defined]
    tensors: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return tensors


def put_lora(model: PreTrainedModel, config: LoraConfig, weights: Mapping[str, Tensor], name: str = "default") -> None:
    """Freeze the model and put trained LoRA layers around its linear maps, in place.

    Args:
        model: a causal LM or base model of a supported family.
        config: PEFT's; its target_modules are whole paths in this model.
        weights: as `lora_tensors` returns them.
        name: what the adapter is called in the parameters' names.

    Raises:
        ValueError: a path that the model does not have, a weight too many, too few or of another shape.
    """
    model.requires_grad_(False)
    try:
        inject_adapter_in_model(config, model, adapter_name=name, low_cpu_mem_usage=True)
        result: Any = set_peft_model_state_dict(model, dict(weights), adapter_name=name, low_cpu_mem_usage=True)
    except RuntimeError as error:  # torch's, of shapes
        raise ValueError(str(error).strip().splitlines()[-1].strip()) from error
    empty = [key for key, parameter in model.named_parameters() if parameter.is_meta]
    if wrong := [*result.unexpected_keys, *empty]:
        raise ValueError(f"no counterpart for {wrong[0]}")


def merged_copy(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """An ordinary copy of the model in `dtype`: LoRA and a changed head folded in, in float32, nothing shared.

    Raises:
        UsageError: the model is quantized, so there are no weights to fold into.
    """
    refuse_quantized(model, "an ordinary model was to be saved", "Load it without --quantize.")
    model = nn.Module.to(copy.deepcopy(model), torch.float32)
    for path, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()  # type: ignore[attr-defined]
            model.set_submodule(path, module.get_base_layer())  # type: ignore[attr-defined]
    head = model.get_output_embeddings()
    if isinstance(head, ChangedHead):
        model.set_output_embeddings(head.merged())
        model.config.tie_word_embeddings = False
    nn.Module.to(model, dtype)
    return model
