"""One tiny model: what a target and its roles refuse, what they make of a text, and what they load from disk."""

import json

import pytest
import torch
from families import DEPTH, VOCAB, WIDTH, tiny, words
from safetensors.torch import load_file, save_file
from transformers import BloomConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from legible.errors import InjectionError, UnsupportedModelError, UsageError
from legible.injection import Injection
from legible.models import Reconstructor, Target, Verbalizer
from legible.models.reconstructor import HEAD_FILE
from legible.prompts import template_reconstructor_prompt


@pytest.mark.parametrize("layer", [-1, DEPTH])
def test_a_layer_out_of_range_is_refused(layer):
    target = tiny("llama")
    ids = torch.tensor([[0, 5]])
    for use in (lambda: target.self_check(layer), lambda: target.streams(ids, torch.ones_like(ids), (layer,))):
        with pytest.raises(UsageError, match=f"layer {layer} is out of range: the model has blocks 0 to 2"):
            use()


def test_an_unknown_family_is_refused_with_the_list():
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=VOCAB, hidden_size=WIDTH, n_layer=1, n_head=4))
    with pytest.raises(UnsupportedModelError, match=r"model_type 'bloom'.*\n.*bitnet.*qwen3_moe"):
        Target(model, words(), "bloom")


def test_a_text_longer_than_the_context_is_refused():
    target = tiny("llama")
    ids = torch.zeros(1, 65, dtype=torch.long)
    with pytest.raises(UsageError, match="65 tokens are more than the context of llama, 64"):
        target.streams(ids, torch.ones_like(ids), (0,))


def test_injection_after_a_block_that_is_not_there_is_refused():
    with pytest.raises(InjectionError, match="after block 3, but the model has blocks 0 to 2"):
        Verbalizer.from_target(tiny("llama"), Injection("add", block=3))


def test_offsets_point_into_the_text_and_special_tokens_stand_at_zero():
    encoded = tiny("llama").encode("w3 w10")
    assert encoded.ids == [0, 7, 14]
    assert encoded.offsets == [(0, 0), (0, 2), (3, 6)]


def test_an_empty_text_is_refused():
    with pytest.raises(UsageError, match="the text is empty"):
        tiny("llama").encode("  ")


def saved(tmp_path, family: str = "llama") -> Target:
    target = tiny(family)
    target.model.save_pretrained(tmp_path)
    target.tokenizer.save_pretrained(tmp_path)
    return target


def test_a_saved_target_loads_to_the_same_weights_and_tokens(tmp_path):
    target = saved(tmp_path)
    loaded = Target.load(str(tmp_path))
    assert loaded.sha256() == target.sha256()
    assert loaded.encode("w3 w10") == target.encode("w3 w10")
    assert (loaded.bos_id, loaded.end_ids, loaded.context) == (0, (1,), 64)


def test_pickle_weights_are_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"only pickle weights \(pytorch_model.bin\), expected safetensors"):
        Target.load(str(tmp_path))


def test_damaged_weights_are_refused(tmp_path):
    saved(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UsageError, match="cannot load the model"):
        Target.load(str(tmp_path))


def test_weights_that_lack_a_part_are_refused_not_made_up(tmp_path):
    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"lack model.layers.1.mlp.up_proj.weight"):
        Target.load(str(tmp_path))


def test_weights_of_another_shape_are_refused(tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 20}))
    with pytest.raises(UsageError, match="cannot load the model"):
        Target.load(str(tmp_path))


def test_a_reconstructor_may_lack_the_norm_that_it_leaves_out(tmp_path):
    reconstructor = Reconstructor.from_target(tiny("llama"), 1)
    reconstructor.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    loaded = Reconstructor.load(tmp_path, reconstructor.prompt)
    assert torch.equal(loaded.reconstruct(["w1 w2"]), reconstructor.reconstruct(["w1 w2"]))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "cannot load the tokenizer"),
    ],
)
def test_a_directory_without_a_part_of_the_model_is_refused(missing, message, tmp_path):
    saved(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UsageError, match=message):
        Target.load(str(tmp_path))


def test_a_place_that_is_no_directory_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no directory at"):
        Target.load(str(tmp_path / "nothing"))


@pytest.mark.parametrize("change", ["missing", "width", "bytes"])
def test_a_reconstructor_with_a_wrong_head_is_refused(change, tmp_path):
    reconstructor = Reconstructor.from_target(tiny("llama"), 1)
    reconstructor.save(tmp_path)
    head = tmp_path / HEAD_FILE
    if change == "missing":
        head.unlink()
    elif change == "width":
        save_file({"weight": torch.eye(5)}, head)
    else:
        head.write_bytes(b"not safetensors")
    with pytest.raises(UsageError, match=HEAD_FILE):
        Reconstructor.load(tmp_path, reconstructor.prompt)


def test_a_template_is_read_as_one_text_with_its_special_tokens():
    target = tiny("llama")
    prompt = template_reconstructor_prompt(target.tokenizer, "w1 w2 {explanation} w3")
    reconstructor = Reconstructor.from_target(target, 2, prompt)
    with torch.no_grad():
        expected = target.streams(torch.tensor([[0, 5, 6, 9, 7]]), torch.ones(1, 5, dtype=torch.long), (2,))[2][0, -1]
    assert torch.allclose(reconstructor.reconstruct(["w5"])[0], expected, atol=1e-5)


def test_reconstructions_come_back_in_the_order_given_whatever_the_batch():
    reconstructor = Reconstructor.from_target(tiny("llama"), 1)
    explanations = ["w1 w2 w3 w4", "w9", "w5 w6"]
    alone = torch.cat([reconstructor.reconstruct([text]) for text in explanations])
    assert torch.allclose(reconstructor.reconstruct(explanations, batch=2), alone, atol=1e-5)
    assert reconstructor.reconstruct([]).shape == (0, WIDTH)
