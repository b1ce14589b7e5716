"""One base in memory, three roles: target, verbalizer and reconstructor over the same frozen weights.

Each role is its own tree of modules around shared parameters, with its own LoRA layers in it: nothing is switched
between calls, so the target is untouched and roles can take turns inside one graph. Saving leaves the adapter alone, or
merges it.
"""

import hashlib
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from legible.config import AdapterConfig
from legible.errors import UsageError
from legible.injection import Injection
from legible.models.arch import Arch, LeftOut, check_layer, sharing_copy, with_blocks
from legible.models.differences import rows_of
from legible.models.lora import add_lora
from legible.models.outputs import Outputs
from legible.models.placement import FULL, precision_of, trainable_copy
from legible.models.reconstructor import Reconstructor, identity_head, kept_base
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer, affine_map
from legible.prompts import plain_reconstructor_prompt, plain_verbalizer_prompt

R = TypeVar("R", bound=nn.Module)


def with_lora(
    model: PreTrainedModel, config: AdapterConfig, *, name: str = "default", seed: int = 0
) -> PreTrainedModel:
    """Freeze a role's model and train LoRA in its blocks instead; in place, returned for convenience.

    Give it `verbalizer.model` or `reconstructor.backbone`. A reconstructor's head continues to train in full; call
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


@dataclass(frozen=True)
class Shape:
    """What of the target a role keeps, and how it trains.

    blocks: the target's blocks that it keeps, ascending; None: all of a verbalizer, 0..K of a reconstructor. A role of
        some blocks shares the target's token embedding, which does not train, and copies the rest.
    adapter: LoRA over the target's weights; None trains the role's own.
    output_ids: of a head that writes these tokens alone, its rows the target's at first; None: the target's head.
    affine: the scaled vector goes through a learned map, the identity at first.
    """

    blocks: tuple[int, ...] | None = None
    adapter: AdapterConfig | None = None
    output_ids: tuple[int, ...] | None = None
    affine: bool = False


def new_verbalizer(target: Target, injection: Injection, shape: Shape, *, seed: int = 0) -> Verbalizer:
    """A verbalizer with the target's weights, ready to be trained.

    It also trains the stop token's output row where a frozen head cannot tell it from another's.

    Raises:
        UsageError: blocks that the target does not have, or output ids without a stop token.
    """
    shares = shape.adapter is not None or shape.blocks is not None
    if not shares:
        model = trainable_copy(target.model).requires_grad_(True)
    elif shape.blocks is None:
        model = sharing_copy(target.model)
    else:
        model = with_blocks(target.model, shape.blocks)
    if shape.adapter is not None:
        with_lora(model, shape.adapter, name="av", seed=seed)
    elif shares:
        _own(model)
    outputs = None
    if shape.output_ids is not None:
        outputs = Outputs(shape.output_ids, target.model.config.get_text_config().vocab_size)
        _write_only(model, outputs)
    width = target.d_model
    verbalizer = Verbalizer(
        model,
        target.tokenizer,
        plain_verbalizer_prompt(target.tokenizer),
        injection,
        over=target.name if shares else None,
        blocks=shape.blocks,
        outputs=outputs,
        injection_map=affine_map(torch.eye(width), torch.zeros(width)).to(target.device) if shape.affine else None,
    )
    if shares and verbalizer.stop_twin() is not None:
        verbalizer.train_stop_row()
    return verbalizer


def new_reconstructor(target: Target, layer: int, shape: Shape, *, seed: int = 0) -> Reconstructor:
    """A reconstructor of layer K with an identity head, ready to be trained; of `shape`, blocks and adapter count.

    Raises:
        UsageError: layer or blocks that the target does not have.
    """
    if shape.adapter is None and shape.blocks is None:
        return Reconstructor.from_target(target, layer)
    check_layer(layer, target.n_layers)
    backbone = kept_base(target, range(layer + 1) if shape.blocks is None else shape.blocks)
    if shape.adapter is not None:
        with_lora(backbone, shape.adapter, name="ar", seed=seed)
    else:
        _own(backbone)
    head = identity_head(target.d_model, target.device)
    prompt = plain_reconstructor_prompt(target.tokenizer)
    kept = {"over": target.name, "layer": layer, "blocks": shape.blocks}
    return Reconstructor(backbone, head, target.tokenizer, prompt, **kept)  # type: ignore[arg-type]


def shared_roles(
    target: Target, layer: int, injection: Injection, config: AdapterConfig, *, seed: int
) -> tuple[Verbalizer, Reconstructor]:
    """A LoRA verbalizer and reconstructor over the target's own weights: no second copy of the base.

    Raises:
        UsageError: the layer is out of range.
    """
    shape = Shape(adapter=config)
    verbalizer = new_verbalizer(target, injection, shape, seed=seed)
    return verbalizer, new_reconstructor(target, layer, shape, seed=seed + 1)


def _own(model: PreTrainedModel) -> None:
    """Give a sharing copy its own weights to train, in place: all but the token embedding and a left-out norm.

    Raises:
        UsageError: the target is held in fewer than 32 bits: what it shares and what trains must be of one kind.
    """
    if (held := precision_of(model)) != FULL:
        raise UsageError(
            f"a reader of some blocks trains float32 weights beside the target's, which are held in {held}.\n"
            "  Choose --dtype float32 and no --quantize, or train adapters: --adapter-rank 16"
        )
    arch = Arch.find(model)
    shared = {id(arch.embedding.weight)}
    if isinstance(arch.final_norm, LeftOut):
        shared |= {id(parameter) for parameter in arch.final_norm.parameters()}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in shared:
                setattr(module, name, nn.Parameter(parameter.detach().clone()))


def _write_only(model: PreTrainedModel, outputs: Outputs) -> None:
    """Replace the head by a separate, trainable one over some ids, its rows unchanged, in place."""
    head = rows_of(model, outputs.ids).requires_grad_(True)
    model.set_output_embeddings(head)
    model.config.tie_word_embeddings = False


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
