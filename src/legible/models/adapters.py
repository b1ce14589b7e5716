"""Adapters of other tools, merged onto the unmodified base: PEFT folders of a verbalizer, LoRA of a reconstructor.

The second format is EasyNLA's (github.com/asherps/EasyNLA, `nla/train_sft.py`): LoRA weights and value head in one
safetensors file, everything else in `ar_meta.json`. Its reconstructor scales the backbone's output to one length
before the head; a head without bias keeps that out of the direction, so it needs no code here.
"""

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel, get_peft_model_state_dict, inject_adapter_in_model
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from legible.errors import ContractError, UsageError
from legible.fileio import refuse_pointer, write_json
from legible.models.arch import LeftOut
from legible.models.loading import load_pretrained
from legible.models.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, lora_config, lora_tensors, merged_copy
from legible.models.place import one_line
from legible.models.placement import trained_at
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.prompts import ReconstructorPrompt
from legible.vectors import direction_mse

RECONSTRUCTOR_META = "ar_meta.json"
RECONSTRUCTOR_WEIGHTS = "ar_lora_value_head.safetensors"
_HEAD_KEY = "value_head.weight"
_TOLERANCE = 1e-3  # merging rounds by about 1e-6 in float32


class ReconstructorMeta(BaseModel):
    """`ar_meta.json`. A file that does not mention the final norm is from the time when it was kept."""

    model_config = ConfigDict(extra="allow")

    ar_num_layers: int = Field(ge=1)
    lora_r: int = Field(ge=1)
    lora_alpha: float = Field(gt=0)
    final_norm_stripped: bool = False


def base_of(folder: Path) -> str | None:
    """The base model that a PEFT folder names; None where it is no PEFT folder or names none."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is not JSON ({error}).\n  Copy the adapter again.") from None
    return config.get("base_model_name_or_path") if isinstance(config, dict) else None


def merged_verbalizer(target: Target, folders: Sequence[Path]) -> PreTrainedModel:
    """A causal LM: the target with these PEFT adapters merged one after another, or the whole model of one folder.

    Args:
        target: the base of the adapters; left as it is.
        folders: PEFT folders, the first trained first, or a single Hugging Face model folder.

    Raises:
        UsageError: neither an adapter nor a model, or pickle weights only.
        ContractError: an adapter of another base, or one that cannot be merged.
    """
    if len(folders) == 1 and not (folders[0] / ADAPTER_CONFIG).is_file():
        return load_pretrained(AutoModelForCausalLM, str(folders[0]), place=trained_at(target.model))
    model = copy.deepcopy(target.model)
    for folder in folders:
        weights = _read(folder / ADAPTER_WEIGHTS, "a PEFT adapter (adapter_config.json beside it)")
        try:
            adapted = PeftModel.from_pretrained(model, str(folder)).eval()
            for config in adapted.peft_config.values():
                config.base_model_name_or_path = ""  # else PEFT looks for it, which may have moved, here and on the hub
            unused = sorted(set(weights) ^ set(get_peft_model_state_dict(adapted)))
        except Exception as error:
            raise _other_base(folder, target, one_line(error)) from error
        if unused and hasattr(adapted.base_model, "merge_and_unload"):  # PEFT only warns of these
            raise _other_base(folder, target, f"{len(unused)} weights have no counterpart, such as {unused[0]}")
        model = _merged(adapted, folder)
    return model


@torch.no_grad()
def _merged(adapted: PeftModel, folder: Path) -> PreTrainedModel:
    """The base with the adapter in its weights, proven to compute the same.

    Raises:
        ContractError: an adapter that cannot be merged, or not without a change.
    """
    kind = str(adapted.peft_type).rpartition(".")[2]
    reason = f"adapters of kind {kind} are no change of weights"
    if hasattr(adapted.base_model, "merge_and_unload"):
        try:
            did = _logits(adapted)
            model: PreTrainedModel = adapted.merge_and_unload()
            gap = float((_logits(model) - did).norm() / did.norm())
            if gap < _TOLERANCE:
                head = model.get_output_embeddings()
                if head is not None and head.weight is not model.get_input_embeddings().weight:
                    model.config.tie_word_embeddings = False  # else the adapter's own head is lost in saving
                return model
            reason = f"merged, its logits differ by {gap:.2g} of their norm, expected below {_TOLERANCE:g}"
        except Exception as error:  # noqa: BLE001  PEFT refuses in its own words and types
            reason = one_line(error)
    raise ContractError(
        f"the adapter in {folder} ({kind}) cannot be merged into its base: {reason}.\n"
        "  The usual cause is a variant that is more than added weights, or one on a head tied to the embedding.\n"
        "  Merge it with the tool that trained it, compare, and name the whole model instead."
    )


def _logits(model: Any) -> Tensor:
    """What a causal LM computes on a few tokens."""
    rows = model.get_input_embeddings().weight.shape[0]
    ids = (
        torch.arange(min(12, model.config.max_position_embeddings), device=next(model.parameters()).device) * 7 + 3
    ).remainder(rows)
    logits: Tensor = model(input_ids=ids[None], use_cache=False).logits
    return logits.float()


def merged_reconstructor(target: Target, folder: Path, prompt: ReconstructorPrompt) -> Reconstructor:
    """A reconstructor: the target's first blocks with LoRA merged and the head beside it, or a whole one in a folder.

    Args:
        target: the base of the adapter; left as it is.
        folder: `ar_meta.json` with its weights, or a reconstructor with `value_head.safetensors`.
        prompt: as its contract has it.

    Raises:
        UsageError: nothing usable there, or pickle weights only.
        ContractError: an adapter of another base, or a final norm that cannot be folded into the head.
    """
    meta = reconstructor_meta(folder)
    if meta is None:
        return Reconstructor.load(folder, prompt, place=trained_at(target.model))
    weights = _read(folder / RECONSTRUCTOR_WEIGHTS, "the weights of a reconstructor's adapter")
    reconstructor = Reconstructor.from_target(target, meta.ar_num_layers - 1, prompt)
    head = weights.pop(_HEAD_KEY, None)
    if head is None or head.shape != reconstructor.value_head.weight.shape:
        problem = "no value head" if head is None else f"a value head of shape {tuple(head.shape)}"
        raise _other_base(folder, target, f"it holds {problem}")
    reconstructor.value_head.load_state_dict({"weight": head.float()})
    if not meta.final_norm_stripped:
        _fold_norm(reconstructor, folder)
    prefix = f"backbone.{target.model.base_model_prefix}."
    _load_lora(
        reconstructor.backbone, {key.removeprefix(prefix): weights[key] for key in weights}, meta, folder, target
    )
    reconstructor.backbone = merged_copy(reconstructor.backbone, torch.float32)
    return reconstructor


def save_reconstructor_adapter(reconstructor: Reconstructor, folder: Path, dtype: torch.dtype) -> None:
    """Write a reconstructor of LoRA over its target as `merged_reconstructor` reads it: `ar_meta.json`, weights, head.

    Raises:
        UsageError: it changes something that this form has no place for.
    """
    backbone = reconstructor.backbone
    lora = lora_tensors(backbone)
    rest = [n for n, p in backbone.named_parameters() if p.requires_grad and "lora_" not in n]
    if rest or any(".lora_magnitude_vector" in key for key in lora) or not lora:
        problem = rest[0] if rest else "DoRA" if lora else "no LoRA"
        raise UsageError(
            f"the form easynla holds plain LoRA and a head, and this reconstructor has {problem}.\n"
            "  Cut it to low-rank differences: --rank 64; or write --form adapters."
        )
    rank = max(len(tensor) for key, tensor in lora.items() if ".lora_A." in key)
    prefix = f"backbone.{backbone.base_model_prefix}."
    weights = {_HEAD_KEY: reconstructor.value_head.weight}
    for key, tensor in lora.items():
        path, _, part = key.partition(".lora_")
        layer: Any = backbone.get_submodule(path)
        room = rank - len(tensor) if part.startswith("A") else rank - tensor.shape[1]
        wide = F.pad(tensor, (0, 0, 0, room)) if part.startswith("A") else F.pad(tensor, (0, room))
        scale = 1.0 if part.startswith("A") else next(iter(layer.scaling.values()))
        weights[f"{prefix}{path}.lora_{part.replace('.', '.default.', 1)}"] = wide * scale
    folder.mkdir(parents=True, exist_ok=True)
    stored = {key: tensor.detach().to(dtype).cpu().contiguous() for key, tensor in weights.items()}
    save_file(stored, folder / RECONSTRUCTOR_WEIGHTS)
    meta = {"ar_num_layers": reconstructor.layer + 1, "lora_r": rank, "lora_alpha": math.sqrt(rank)}
    write_json(folder / RECONSTRUCTOR_META, {**meta, "final_norm_stripped": True})


def reconstructor_meta(folder: Path) -> ReconstructorMeta | None:
    """`ar_meta.json` of a folder; None where there is none.

    Raises:
        ContractError: it lacks a key, or one is impossible (named).
    """
    path = folder / RECONSTRUCTOR_META
    if not path.is_file():
        return None
    try:
        return ReconstructorMeta.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be used: {error}\n  Copy the adapter again.") from None


def _load_lora(
    backbone: PreTrainedModel, weights: dict[str, Tensor], meta: ReconstructorMeta, folder: Path, target: Target
) -> None:
    """Put LoRA layers where the weights say and fill them; its scale is alpha / sqrt(r), as that tool trains."""
    modules = sorted(key.partition(".lora_A.")[0] for key in weights if ".lora_A." in key)
    try:
        config = lora_config(backbone, modules, rank=meta.lora_r, alpha=meta.lora_alpha, rslora=True)
        inject_adapter_in_model(config, backbone)
        missing, unused = backbone.load_state_dict(weights, strict=False)
    except (RuntimeError, ValueError, AttributeError) as error:
        raise _other_base(folder, target, str(error).strip().splitlines()[-1].strip()) from error
    lacking = [key for key in missing if ".lora_" in key]
    if unused or lacking:
        raise _other_base(folder, target, f"no counterpart for {(unused + lacking)[0]}")


@torch.no_grad()
def _fold_norm(reconstructor: Reconstructor, folder: Path) -> None:
    """Fold a kept RMS norm's gain into the head: what is left of the norm is a length, and only the direction counts.

    Raises:
        ContractError: a norm that also shifts (LayerNorm), which no head without bias can stand for.
    """
    left_out = reconstructor.arch.final_norm
    assert isinstance(left_out, LeftOut)
    head = reconstructor.value_head.weight
    gain = left_out.norm(torch.ones(head.shape[1], device=head.device))
    probe = torch.linspace(-1.0, 2.0, len(gain), device=head.device)
    if direction_mse(left_out.norm(probe), gain * probe) > 1e-6:
        raise ContractError(
            f"{folder} was trained with the final norm kept (final_norm_stripped: false), and this base's norm is no "
            "RMS norm, so the head cannot stand for it.\n"
            "  Train it again with the norm stripped, which is that tool's default now."
        )
    head.mul_(gain)


def _read(path: Path, what: str) -> dict[str, Tensor]:
    if not path.is_file():
        pickles = sorted(file.name for file in path.parent.glob("*.bin")) if path.parent.is_dir() else []
        problem = f"only pickle weights ({', '.join(pickles)})" if pickles else "nothing of the kind"
        raise UsageError(f"no {path.name} in {path.parent}: {problem}.\n  Expected {what}, in safetensors.")
    refuse_pointer(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error}).\n  Copy the adapter again.") from error


def _other_base(folder: Path, target: Target, reason: str) -> ContractError:
    return ContractError(
        f"the adapter in {folder} does not fit {target.name}: {reason}.\n"
        "  The usual cause is another base model. Name the right one with --base."
    )
