"""For any adapter of any family the merged model, saved and loaded, computes what the adapter did, or it is refused."""

import copy
from pathlib import Path
from typing import Any

import easynla
import pytest
import torch
from families import CONFIGS, tiny
from peft import (
    AdaptionPromptConfig,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    TrainableTokensConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from legible.config import AdapterConfig
from legible.errors import ContractError
from legible.models import Arch
from legible.models.adapters import merged_verbalizer
from legible.models.arch import FAMILIES
from legible.models.loading import load_pretrained
from legible.models.lora import merged_copy
from legible.models.roles import with_lora
from legible.models.target import Target

IDS = torch.tensor([[0, 9, 5, 6, 20, 31, 5]])
NEVER = {"a prompt", "a prefix", "an adaption prompt", "invoked"}  # no change of weights
SOMETIMES = {"on the head", "on the embedding", "own bias", "repeated blocks"}  # where tied, or without a place for it


def adapters(family: str, model: PreTrainedModel) -> dict[str, PeftConfig]:
    arch = Arch.find(model)
    embedding, norm, blocks = arch.family.embedding, arch.family.final_norm, arch.family.blocks
    linear = easynla.LINEAR.get(family, ["q_proj", "v_proj"])
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    fan = family == "gpt2"

    def lora(**options: Any) -> LoraConfig:
        usual = {"r": 4, "lora_alpha": 16, "target_modules": linear, "task_type": "CAUSAL_LM", "fan_in_fan_out": fan}
        return LoraConfig(**usual | options)

    found: dict[str, PeftConfig] = {
        "plain": lora(lora_dropout=0.5),
        "rslora": lora(use_rslora=True),
        "dora": lora(use_dora=True),
        "ranks of its own": lora(rank_pattern={linear[0]: 2}, alpha_pattern={linear[0]: 3}),
        "one block": lora(layers_to_transform=[1], layers_pattern=blocks),
        "every linear map": lora(target_modules="all-linear"),
        "trained biases": lora(bias="all"),
        "own bias": lora(lora_bias=True),
        "its own head": lora(modules_to_save=[head]),
        "its own embedding": lora(modules_to_save=[embedding]),
        "its own norm": lora(modules_to_save=[norm]),
        "on the head": lora(target_modules=[head, *linear]),
        "on the embedding": lora(target_modules=[embedding, *linear]),
        "some tokens": lora(trainable_token_indices=[5, 6]),
        "tokens alone": TrainableTokensConfig(token_indices=[5, 6], target_modules=[embedding]),
        "vera": VeraConfig(r=4, target_modules=linear[:1], fan_in_fan_out=fan),
        "ia3": IA3Config(target_modules=linear, feedforward_modules=[], fan_in_fan_out=fan, task_type="CAUSAL_LM"),
        "invoked": lora(alora_invocation_tokens=[5]),
        "a prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "a prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    }
    if family == "llama":
        found["repeated blocks"] = lora(layer_replication=[[0, 2], [1, 3]])
        found["an adaption prompt"] = AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=3, adapter_layers=2)
    return found


def shake(model: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)


def outcome(target: Target, folder: Path) -> tuple[PreTrainedModel | None, str]:
    try:
        return merged_verbalizer(target, [folder]), ""
    except ContractError as error:
        return None, str(error)


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(input_ids=IDS, use_cache=False).logits


@pytest.mark.filterwarnings("ignore")  # PEFT's, of variants that it can train and not merge
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_merged_adapter_computes_what_it_did_or_is_refused(family, tmp_path):
    target = tiny(family)
    before = logits(target.model)
    for name, config in adapters(family, target.model).items():
        folder = tmp_path / name.replace(" ", "-")
        trained = get_peft_model(copy.deepcopy(target.model), config)
        shake(trained)
        trained.save_pretrained(str(folder))
        merged, refused = outcome(target, folder)
        if merged is None:
            assert name in NEVER | SOMETIMES, (name, refused)
            assert "cannot be merged into its base" in refused
            continue
        assert name not in NEVER
        merged.save_pretrained(folder / "whole")
        expected = logits(PeftModel.from_pretrained(copy.deepcopy(target.model), str(folder)))
        assert (expected - before).norm() > 1e-3 * before.norm(), name
        found = logits(load_pretrained(AutoModelForCausalLM, str(folder / "whole")))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, msg=lambda said, name=name: f"{name}: {said}")
    assert torch.equal(logits(target.model), before)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("variant", [{}, {"rslora": True}, {"dora": True}])
def test_our_own_adapters_merge_to_what_they_compute(family, variant, tmp_path):
    model = with_lora(copy.deepcopy(tiny(family).model), AdapterConfig(rank=3, alpha=7, **variant))
    shake(model)
    expected = logits(model)
    merged_copy(model, torch.float32).save_pretrained(tmp_path)
    torch.testing.assert_close(
        logits(load_pretrained(AutoModelForCausalLM, str(tmp_path))), expected, rtol=1e-3, atol=1e-3
    )


def test_a_broken_adapter_of_any_kind_is_refused_with_its_cause(tmp_path: Path):
    target = tiny("llama")
    trained = get_peft_model(copy.deepcopy(target.model), adapters("llama", target.model)["plain"])
    trained.save_pretrained(str(tmp_path))
    known = (tmp_path / "adapter_config.json").read_text()
    for wrong in ('"peft_type": "ZZZ"', '"r": "4"', '"r": null', '"target_modules": 7'):
        key = wrong.partition(":")[0]
        text = "\n".join(line for line in known.split("\n") if not line.strip().startswith(key))
        (tmp_path / "adapter_config.json").write_text(text.replace("{", "{" + wrong + ",", 1))
        with pytest.raises(ContractError, match=r"does not fit|cannot be merged"):
            merged_verbalizer(target, [tmp_path])


def test_every_family_is_tried():
    assert set(CONFIGS) == set(FAMILIES)
