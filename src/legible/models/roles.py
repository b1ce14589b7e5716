"""One base in memory, three roles: target, verbalizer and reconstructor over the same frozen weights.

Each role is its own tree of modules around shared parameters, with its own LoRA layers in it: nothing is switched
between calls, so the target is untouched and roles can take turns inside one graph. Saving merges the adapter.
"""

import hashlib
from typing import TypeVar

from torch import nn
from transformers import PreTrainedModel

from legible.config import AdapterConfig
from legible.errors import UsageError
from legible.injection import Injection
from legible.models.arch import sharing_copy
from legible.models.lora import add_lora
from legible.models.reconstructor import Reconstructor, identity_head
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.prompts import plain_reconstructor_prompt, plain_verbalizer_prompt

R = TypeVar("R", bound=nn.Module)


def with_lora(
    model: PreTrainedModel, config: AdapterConfig, *, name: str = "default", seed: int = 0
) -> PreTrainedModel:
    """Freeze a role's model and train LoRA in its blocks instead; in place, returned for convenience.

    Give it `verbalizer.model` or `reconstructor.backbone`. A reconstructor's head goes on training in full; call
    `verbalizer.train_stop_row()` where `verbalizer.check_stop_token()` objects to the frozen head.

    Args:
        model: a causal LM or base model of a supported family.
        config: rank, alpha and variant.
        name: what the adapter is called in the parameters' names.
        seed: of the random half of the adapter; the other half starts at zero, so nothing changes at first.

    Raises:
        UsageError: the model has an adapter already.
    """
    if any("lora_" in parameter for parameter, _ in model.named_parameters()):
        raise UsageError("this model has a LoRA adapter already.\n  Start from the merged checkpoint instead.")
    add_lora(model, config, name, seed)
    return model


def shared_roles(
    target: Target, layer: int, injection: Injection, config: AdapterConfig, *, seed: int
) -> tuple[Verbalizer, Reconstructor]:
    """A LoRA verbalizer and reconstructor over the target's own weights: no second copy of the base.

    The verbalizer also trains the stop token's output row where the target's head cannot tell it from another's.

    Raises:
        UsageError: the layer is out of range.
    """
    model = sharing_copy(target.model)
    verbalizer = Verbalizer(model, target.tokenizer, plain_verbalizer_prompt(target.tokenizer), injection)
    backbone = sharing_copy(target.arch.truncated(layer + 1))
    reconstructor = Reconstructor(
        backbone,
        identity_head(target.d_model, target.device),
        target.tokenizer,
        plain_reconstructor_prompt(target.tokenizer),
    )
    with_lora(model, config, name="av", seed=seed)
    if verbalizer.stop_twin() is not None:
        verbalizer.train_stop_row()
    with_lora(backbone, config, name="ar", seed=seed + 1)
    return verbalizer, reconstructor


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def reference_copy(role: R) -> R:
    """A frozen snapshot of a role, e.g. the SFT model of the KL term; weights that do not train stay shared."""
    return sharing_copy(role, frozen_only=True).requires_grad_(False)


def weights_sha256(module: nn.Module) -> str:
    """Checksum of a module's parameters: names and bytes, in name order."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()
