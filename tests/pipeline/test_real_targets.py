"""The registered targets themselves: their weights and ids are the file's own, and they say what they are known to say.

Their files lie where LEGIBLE_TARGETS says, or where `legible target get` keeps them; elsewhere these tests skip.
"""

import json

import ggufs
import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import safe_open

from legible.models.gguf import converted
from legible.models.named import TARGETS, find_named, named_file
from legible.models.target import Target

TEXTS = (
    "The capital of France is Paris.",
    "1. In 2024,  12345 cats' kittens\n\n2. don't\n\n\n   3. sleep",
    "  two  spaces, a\ttab, é, 日本, 🙂, ½, ٣ and \u00a0 one that does not break",
    "<|im_start|>user\nhi<|im_end|>\n<start_of_turn>model<eos>",
    " " * 45 + "far right ▁▁ under",
)


def here(name: str) -> object:
    """A parameter that skips where the target's file is not here."""
    found = find_named(name)
    absent = found is None or not found.path.is_file()
    slow = [pytest.mark.slow] if name == "gemma" else []  # a gigabyte, and minutes to convert the first time
    skip = pytest.mark.skipif(absent, reason=f"not here: legible target get {name}")
    return pytest.param(name, marks=[pytest.mark.material, skip, *slow])


EVERY = [here(target.short) for target in TARGETS]


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_is_the_files_own_to_the_last_bit(name):
    path = named_file(find_named(name))
    folder = converted(path)
    config = json.loads((folder / "config.json").read_text())
    gemma = config["model_type"] == "gemma3_text"
    names = ggufs.GEMMA if gemma else ggufs.NAMES
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    with safe_open(folder / "model.safetensors", "np") as found:
        left = set(found.keys())
        for tensor in GGUFReader(path).tensors:
            weight, parts = dequantize(tensor.data, tensor.tensor_type), tensor.name.split(".")
            ours = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}.get(parts[0])
            ours = f"{ours or f'model.layers.{parts[1]}.{names[parts[2]]}'}.weight"
            if not gemma and parts[-2] in heads:
                order = np.arange(len(weight)).reshape(heads[parts[-2]], -1, 2).swapaxes(1, 2).ravel()
                weight = weight[order]
            if gemma and parts[-2].endswith("norm"):
                weight = weight - 1
            np.testing.assert_array_equal(found.get_tensor(ours), weight, err_msg=tensor.name)
            left.remove(ours)
    assert not left


@pytest.mark.parametrize("name", EVERY)
def test_ids_are_those_of_the_files_own_vocabulary(name):
    target = Target.load(name)
    own = ggufs.Vocabulary(named_file(find_named(name)), digits_first=name == "smollm2")
    begun = [target.bos_id] if name == "gemma" else []
    for text in TEXTS:
        assert target.encode(text).ids == begun + own.encode(text), text


@pytest.mark.parametrize("name", [here("smollm2")])
def test_the_capital_of_france_is_paris(name):
    target = Target.load(name)
    ids = torch.tensor([target.encode("The capital of France is").ids])
    best = target.logits(ids, torch.ones_like(ids))[0, -1].argmax()
    assert target.tokenizer.decode(best) == " Paris"
    assert target.name == "smollm2-135m-instruct-q4_1"
    target.self_check(20)
    turns = [{"role": "user", "content": "Hi"}]
    shown = target.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert shown.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
