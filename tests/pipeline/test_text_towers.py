"""Multimodal models are read in their text tower, which computes what the whole model computes of a text."""

from pathlib import Path

import pytest
import torch
from families import VOCAB, WIDTH, words
from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration
from wrappers import DEPTH, EYES, KINDS, in_newer_names, write_wrapper

from legible.engines.local import LocalEngine
from legible.errors import UnsupportedModelError
from legible.injection import Injection
from legible.models.reconstructor import HEAD_FILE, Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.prompts import plain_reconstructor_prompt, plain_verbalizer_prompt

IDS = torch.tensor([[0, *range(4, 20)]])


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_text_tower_computes_what_the_whole_model_computes_of_a_text(kind, newer, tmp_path, capfd):
    whole = write_wrapper(kind, tmp_path)
    if newer:
        in_newer_names(tmp_path)
    target = Target.load(str(tmp_path))
    with torch.no_grad():
        expected = whole(input_ids=IDS, output_hidden_states=True, use_cache=False)
    mask = torch.ones_like(IDS)
    streams = target.streams(IDS, mask, range(DEPTH))
    for layer in range(DEPTH - 1):
        torch.testing.assert_close(streams[layer], expected.hidden_states[layer + 1], atol=1e-4, rtol=1e-4)
        target.self_check(layer)
    torch.testing.assert_close(target.logits(IDS, mask), expected.logits, atol=1e-4, rtol=1e-4)
    assert not any("visual" in name or "vision" in name for name, _ in target.model.named_parameters())
    assert "UNEXPECTED" not in capfd.readouterr().err


def test_a_wrapper_is_a_verbalizer_and_its_first_blocks_a_reconstructor(tmp_path):
    write_wrapper("gemma3", tmp_path / "av")
    verbalizer = Verbalizer.load(tmp_path / "av", plain_verbalizer_prompt(words()), Injection())
    vectors = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    written = LocalEngine(verbalizer).generate(vectors, max_tokens=4)
    verbalizer.save(tmp_path / "plain")
    plain = Verbalizer.load(tmp_path / "plain", verbalizer.prompt, Injection())
    assert plain.model.config.model_type == "gemma3_text"
    assert LocalEngine(plain).generate(vectors, max_tokens=4) == written

    whole = write_wrapper("gemma3", tmp_path / "ar", depth=2)
    save_identity(tmp_path / "ar")
    reconstructor = Reconstructor.load(tmp_path / "ar", plain_reconstructor_prompt(words()))
    assert reconstructor.layer == 1
    with torch.no_grad():
        base = whole.model.language_model
        base.norm = torch.nn.Identity()
        stream = base(input_ids=torch.tensor([[0, 5, 6, 1]])).last_hidden_state[0, -1]
        torch.testing.assert_close(reconstructor.reconstruct(["w1 w2"])[0], stream, atol=1e-4, rtol=1e-4)


def save_identity(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.eye(WIDTH)}, folder / HEAD_FILE)


def test_a_text_tower_of_no_supported_family_is_named(tmp_path):
    text = GemmaConfig(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=4, head_dim=8)
    eyes = {"model_type": "siglip_vision_model", "projection_dim": WIDTH, **EYES}
    config = PaliGemmaConfig(text_config=text, vision_config=eyes, projection_dim=WIDTH, hidden_size=WIDTH)
    PaliGemmaForConditionalGeneration(config).save_pretrained(tmp_path)
    words().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"'paligemma'.*text tower \(model_type 'gemma'\)"):
        Target.load(str(tmp_path))


def test_the_ends_that_a_wrapper_names_are_its_towers(tmp_path):
    import json

    write_wrapper("gemma3", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"eos_token_id": [1, 9]}))
    (tmp_path / "generation_config.json").unlink()
    assert Target.load(str(tmp_path)).end_ids == (1, 9)
