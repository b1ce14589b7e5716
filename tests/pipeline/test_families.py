"""Every supported family, tiny and random, against a plain unbatched, uncached forward written out here."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BitNetConfig,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from legible.engines.local import LocalEngine
from legible.errors import InjectionError, UnsupportedModelError, UsageError
from legible.injection import Injection
from legible.models import Arch, Reconstructor, Target, Verbalizer
from legible.models.arch import FAMILIES
from legible.models.reconstructor import HEAD_FILE
from legible.prompts import template_reconstructor_prompt

VOCAB, WIDTH, DEPTH = 48, 32, 3
SHAPE = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 4}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
MLP = {"intermediate_size": 48, "max_position_embeddings": 64}
GROUPED = {"num_key_value_heads": 2}
EXPERTS = {"num_experts_per_tok": 2}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE, **IDS, **MLP, **GROUPED),
    "qwen2": Qwen2Config(
        **SHAPE, **IDS, **MLP, **GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**SHAPE, **IDS, **MLP, **GROUPED, head_dim=8, tie_word_embeddings=True),
    "mistral": MistralConfig(**SHAPE, **IDS, **MLP, **GROUPED, sliding_window=4),
    "gemma3_text": Gemma3TextConfig(
        **SHAPE, **IDS, **MLP, **GROUPED, head_dim=8, sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "bitnet": BitNetConfig(**SHAPE, **IDS, **MLP, **GROUPED),
    "qwen3_moe": Qwen3MoeConfig(
        **SHAPE, **IDS, **MLP, **GROUPED, **EXPERTS, num_experts=4, moe_intermediate_size=24, head_dim=8
    ),
    "mixtral": MixtralConfig(**SHAPE, **IDS, **MLP, **GROUPED, **EXPERTS, num_local_experts=4),
    "gpt2": GPT2Config(vocab_size=VOCAB, n_embd=WIDTH, n_layer=DEPTH, n_head=4, n_positions=64, **IDS),
    "gpt_neox": GPTNeoXConfig(**SHAPE, **IDS, **MLP),
}  # fmt: skip


def words() -> PreTrainedTokenizerFast:
    vocab = {
        piece: i for i, piece in enumerate(["<s>", "</s>", "<pad>", "<unk>", *(f"w{i}" for i in range(VOCAB - 4))])
    }
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def tiny(family: str) -> Target:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[family], attn_implementation="sdpa")
        with torch.no_grad():
            for parameter in model.parameters():  # larger than at initialisation: streams must differ between layers
                parameter.add_(torch.randn(parameter.shape) * 0.15)
    return Target(model, words(), family)


@pytest.fixture(params=sorted(FAMILIES))
def target(request) -> Target:
    return tiny(request.param)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def plain(target: Target, ids: list[int]) -> tuple[Tensor, ...]:
    """hidden_states of one unpadded text; on a copy, since asking for them leaves hooks in a model."""
    with torch.no_grad():
        return copy.deepcopy(target.model)(
            torch.tensor([ids]), output_hidden_states=True, use_cache=False
        ).hidden_states


def texts(rng: torch.Generator) -> list[list[int]]:
    return [[0, *torch.randint(4, VOCAB, (n,), generator=rng).tolist()] for n in (11, 4, 8)]


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [2] * (width - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def test_every_family_has_a_tiny_configuration():
    assert set(CONFIGS) == set(FAMILIES)


def test_capture_equals_the_hidden_states_of_a_plain_forward(target, rng):
    rows = texts(rng)
    streams = target.streams(*padded(rows), range(DEPTH))
    for i, row in enumerate(rows):
        hidden = plain(target, row)
        for layer in range(DEPTH - 1):
            assert torch.allclose(streams[layer][i, : len(row)], hidden[layer + 1][0], atol=1e-4)
        with torch.no_grad():
            last = target.arch.final_norm(streams[DEPTH - 1][i, : len(row)])
        assert torch.allclose(last, hidden[DEPTH][0], atol=1e-4)


def test_capture_stops_after_the_deepest_layer(target, rng):
    ran = []
    handle = target.arch.blocks[2].register_forward_hook(lambda *_: ran.append(1))
    target.streams(*padded(texts(rng)), (0, 1))
    handle.remove()
    assert not ran


def test_logits_of_a_padded_batch_equal_a_plain_forward(target, rng):
    rows = texts(rng)
    logits = target.logits(*padded(rows))
    for i, row in enumerate(rows):
        with torch.no_grad():
            expected = target.model(torch.tensor([row]), use_cache=False).logits[0]
        assert torch.allclose(logits[i, : len(row)], expected, atol=1e-4)


def by_hand(target: Target, verbalizer: Verbalizer, vector: Tensor, completion: list[int]) -> Tensor:
    """Next-token logits after a prompt and a completion: one row, no cache, no mask, injection written out."""
    prompt, injection = verbalizer.prompt, verbalizer.injection
    ids = torch.tensor([[*prompt.ids, *completion]])
    model = copy.deepcopy(target.model)
    scale = WIDTH**0.5 if target.arch.embedding_scale != 1 else 1.0
    embeds = torch.nn.functional.embedding(ids, target.arch.embedding.weight) * scale
    at = len(prompt.prefix_ids)
    if injection.mode == "replace":
        embeds[0, at] = vector / vector.norm() * WIDTH**0.5
    else:

        def hook(_module, _args, output):
            output = output.clone()
            output[0, at] += output[0, at].norm() * vector / vector.norm()
            return output

        Arch.find(model).blocks[injection.block].register_forward_hook(hook)
    with torch.no_grad():
        logits = model(inputs_embeds=embeds, use_cache=False).logits[0, -1]
    logits[list(prompt.banned_ids)] = -torch.inf
    return logits


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_injection_and_generation_equal_a_plain_loop(target, mode, rng):
    verbalizer = Verbalizer.from_target(target, Injection(mode, block=0))
    vectors = torch.randn(3, WIDTH, generator=rng) * 7
    rows, expected = [], []
    for vector in vectors:
        row: list[int] = []
        steps = []
        while len(row) < 8 and (not row or row[-1] != 1):
            steps.append(by_hand(target, verbalizer, vector, row))
            row.append(int(steps[-1].argmax()))
        rows.append(row)
        expected.append(torch.stack(steps))
    with torch.no_grad():
        logits = verbalizer.logits(vectors, *padded(rows))
        logprobs = verbalizer.logprobs(vectors, *padded(rows))
    for i, row in enumerate(rows):
        assert torch.allclose(logits[i, : len(row)], expected[i], atol=1e-4)
        picked = expected[i].log_softmax(-1)[range(len(row)), row]
        assert torch.allclose(logprobs[i, : len(row)], picked, atol=1e-4)
        assert logprobs[i, len(row) :].abs().sum() == 0
    written = LocalEngine(verbalizer).generate(vectors, max_tokens=8)
    assert [done[0].ids for done in written] == [[i for i in row if i != 1] for row in rows]


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_the_vector_changes_what_is_written(target, mode, rng):
    verbalizer = Verbalizer.from_target(target, Injection(mode))
    vectors = torch.randn(2, WIDTH, generator=rng)
    ids = torch.full((2, 3), 9)
    with torch.no_grad():
        one, other = verbalizer.logprobs(vectors, ids, torch.ones_like(ids))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_gradients_reach_the_vector_as_finite_differences_say(target, mode, rng):
    verbalizer = Verbalizer.from_target(target, Injection(mode, block=0))
    vector = torch.randn(1, WIDTH, generator=rng)
    direction = torch.randn(1, WIDTH, generator=rng)
    ids = torch.tensor([[9, 5, 1]])
    value = lambda v: verbalizer.logprobs(v, ids, torch.ones_like(ids)).sum()
    (grad,) = torch.autograd.grad(value(vector.requires_grad_()), vector)
    with torch.no_grad():
        slope = (value(vector + 1e-2 * direction) - value(vector - 1e-2 * direction)) / 2e-2
    assert (grad * direction).sum().item() == pytest.approx(slope.item(), rel=0.05, abs=0.01)


def test_truncation_saved_and_loaded_equals_the_full_models_stream(target, rng, tmp_path):
    reconstructor = Reconstructor.from_target(target, 1)
    rows = texts(rng)
    reconstructor.save(tmp_path)
    loaded = Reconstructor.load(tmp_path, reconstructor.prompt)
    assert loaded.layer == 1
    assert loaded.backbone.config.num_hidden_layers == 2
    prompt = reconstructor.prompt
    with torch.no_grad():
        for made in (reconstructor, loaded):
            out = made(*padded(rows))
            for i, row in enumerate(rows):
                stream = plain(target, [*prompt.prefix_ids, *row, *prompt.suffix_ids])[2][0, -1]
                assert torch.allclose(out[i], stream, atol=1e-4)


def test_a_verbalizer_saved_and_loaded_writes_the_same(target, rng, tmp_path):
    verbalizer = Verbalizer.from_target(target, Injection())
    verbalizer.save(tmp_path)
    loaded = Verbalizer.load(tmp_path, verbalizer.prompt, verbalizer.injection)
    vectors, ids = torch.randn(2, WIDTH, generator=rng), torch.tensor([[9, 5, 1], [4, 4, 4]])
    with torch.no_grad():
        assert torch.equal(verbalizer(vectors, ids, torch.ones_like(ids)), loaded(vectors, ids, torch.ones_like(ids)))


def test_training_a_role_leaves_the_target_alone(target, rng):
    before = target.sha256()
    verbalizer, reconstructor = Verbalizer.from_target(target, Injection()), Reconstructor.from_target(target, 1)
    for parameter in (*verbalizer.parameters(), *reconstructor.parameters()):
        parameter.data.add_(1.0)
    target._sha256 = None
    assert target.sha256() == before


def test_every_layer_passes_its_self_check(target):
    for layer in range(DEPTH):
        target.self_check(layer)
    assert not any(module._forward_hooks for module in target.model.modules())


def test_the_self_check_fails_loudly_for_a_wrong_layer(target):
    target._stopped[1] = Arch.find(target.arch.truncated(1))
    with pytest.raises(UnsupportedModelError, match="the stream of layer 1 differs from a plain forward by"):
        target.self_check(1)


def test_the_self_check_fails_loudly_when_embeddings_are_ignored(target):
    forward = target.model.forward
    target.model.forward = lambda inputs_embeds=None, **inputs: forward(
        input_ids=inputs.pop("input_ids", torch.full((1, 12), 5)), **inputs
    )
    with pytest.raises(UnsupportedModelError, match="nothing can be injected"):
        target.self_check(0)


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
    assert (loaded.bos_id, loaded.eos_id, loaded.context) == (0, 1, 64)


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


def test_training_mode_leaves_dropout_off(rng):
    verbalizer = Verbalizer.from_target(tiny("gpt2"), Injection())  # its configuration has dropout 0.1
    vectors, ids = torch.randn(1, WIDTH, generator=rng), torch.tensor([[9, 5, 1]])
    mask = torch.ones_like(ids)
    assert torch.equal(verbalizer.train()(vectors, ids, mask), verbalizer.eval()(vectors, ids, mask))
