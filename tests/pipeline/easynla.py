"""Folders as EasyNLA's training saves them, and its forwards written down plainly, to compare with."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from legible.models import Arch

MARKER = "w43"
ACTOR = "w1 w2 {injection_char} w3"
CRITIC = "w4 {explanation} w5 w6"
CHAT = "<s>{% for m in messages %} w7 {{ m['content'] }} w8{% endfor %}{% if add_generation_prompt %} w9{% endif %}"
LAYER = 1
LINEAR = {"gpt2": ["c_attn", "c_proj", "c_fc"], "gpt_neox": ["query_key_value", "dense_h_to_4h", "dense_4h_to_h"]}
LLAMA = r".*\.self_attn\.(q_proj|k_proj|v_proj|o_proj)|.*\.mlp\.(gate_proj|up_proj|down_proj)"


def save_base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    tokenizer.chat_template = CHAT
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def lora(family: str) -> LoraConfig:
    return LoraConfig(
        r=4, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", use_rslora=True,
        target_modules=LINEAR.get(family, LLAMA), fan_in_fan_out=family == "gpt2",
    )  # fmt: skip


def shake(model: nn.Module, seed: int) -> None:
    """Random LoRA weights: a fresh adapter changes nothing, so nothing would be compared."""
    draw = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name or name.startswith("value_head"):
            weight.data += 0.1 * torch.randn(weight.shape, generator=draw)


def save_verbalizer(base: Path, family: str, folder: Path, *, seed: int = 0, under: Sequence[Path] = ()) -> PeftModel:
    """An AV adapter; `under` are adapters merged below it, as its RL stage starts from the warm start."""
    model = AutoModelForCausalLM.from_pretrained(base)
    for path in under:
        model = PeftModel.from_pretrained(model, str(path)).merge_and_unload()
    model = get_peft_model(model, lora(family))
    shake(model, seed)
    model.save_pretrained(str(folder))
    (folder / "nla_meta.yaml").write_text(yaml.safe_dump(sidecar(base)))
    return model.eval()


class Critic(nn.Module):
    """The truncated causal LM and its head."""

    def __init__(self, base: Path, *, strip: bool) -> None:
        super().__init__()
        self.backbone = AutoModelForCausalLM.from_pretrained(base)
        arch = Arch.find(self.backbone)
        setattr(arch.base, arch.family.blocks, arch.blocks[: LAYER + 1])
        if strip:
            setattr(arch.base, arch.family.final_norm, nn.Identity())
        self.value_head = nn.Linear(arch.d_model, arch.d_model, bias=False)
        nn.init.eye_(self.value_head.weight)

    def forward(self, ids: list[int]) -> Tensor:
        base = Arch.find(self.backbone).base
        hidden = base(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
        return self.value_head(hidden / hidden.norm() * hidden.shape[0] ** 0.5)


def save_reconstructor(base: Path, family: str, folder: Path, *, strip: bool = True) -> Critic:
    critic = Critic(base, strip=strip)
    inject_adapter_in_model(lora(family), critic.backbone)
    shake(critic, 7)
    folder.mkdir(parents=True)
    kept = {n: p.detach().clone() for n, p in critic.named_parameters() if "lora_" in n or n.startswith("value_head")}
    save_file(kept, folder / "ar_lora_value_head.safetensors")
    meta = {"ar_num_layers": LAYER + 1, "lora_r": 4, "lora_alpha": 16, "quant": "none", "target_modules": LLAMA}
    (folder / "ar_meta.json").write_text(json.dumps(meta | {"final_norm_stripped": strip}))
    return critic.eval()


def sidecar(base: Path) -> dict:
    """The dataset's sidecar, which training copies beside every adapter."""
    model = AutoModelForCausalLM.from_pretrained(base)
    return {
        "kind": "nla_dataset",
        "schema_version": 1,
        "dataset_id": "rl_shuf",
        "stage": "rl",
        "row_count": 100,
        "extraction": {
            "base_model": str(base), "d_model": Arch.find(model).d_model, "layer_index": LAYER, "norm": "none",
            "injection_scale": None, "mse_scale": "sqrt_d_model",
        },
        "tokens": {
            "injection_char": MARKER, "injection_token_id": 47, "injection_left_neighbor_id": 6,
            "injection_right_neighbor_id": 7, "critic_suffix_ids": [10],
        },
        "prompt_templates": {"actor": ACTOR, "critic": CRITIC},
    }  # fmt: skip


@torch.no_grad()
def verbalizer_logits(model: PeftModel, prompt: Sequence[int], completion: Sequence[int], vector: Tensor) -> Tensor:
    """Next-token logits of a completion after a prompt whose marker got h + |h| v/|v| after block 1."""
    ids = [*prompt, *completion]
    at = ids.index(47)

    def hook(_module: nn.Module, _args: object, output: Tensor | tuple) -> Tensor | tuple:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[0, at] = hidden[0, at] + hidden[0, at].norm() * vector / vector.norm()
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = Arch.find(model.get_base_model()).blocks[1].register_forward_hook(hook)
    try:
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        handle.remove()
    return logits[len(prompt) - 1 : -1].float()
