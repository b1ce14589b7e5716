"""The local engine writes what a plain, unbatched, uncached forward would write, for every family and in any batch."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    BitNetConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

import legible
from legible import engines
from legible.config import AdapterConfig
from legible.engines import LocalEngine, continue_text
from legible.engines.cached import CachedStepper
from legible.engines.direct import DirectStepper, supports
from legible.engines.sampling import numbered
from legible.errors import UsageError
from legible.injection import Injection
from legible.languages.world import build_tokenizer
from legible.models.roles import with_lora
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer

TOKENIZER = build_tokenizer()
VOCAB = len(TOKENIZER)
COMMON = {
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "bos_token_id": TOKENIZER.bos_token_id,
    "eos_token_id": TOKENIZER.eos_token_id,
    "pad_token_id": TOKENIZER.pad_token_id,
    "initializer_range": 0.2,  # far from uniform, so that argmax ties are rare
}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**COMMON, **SIZES, tie_word_embeddings=True),
    "llama3-rope": LlamaConfig(
        **COMMON,
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "qwen2": Qwen2Config(**COMMON, **SIZES),
    "qwen3": Qwen3Config(**COMMON, **SIZES),
    "mistral": MistralConfig(**COMMON, **SIZES, sliding_window=None),
    "mistral-window": MistralConfig(**COMMON, **SIZES, sliding_window=6),
    "gemma3": Gemma3TextConfig(
        **COMMON, **SIZES, sliding_window=6, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
    "gpt2": GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=3, n_head=4, initializer_range=0.2,
        bos_token_id=TOKENIZER.bos_token_id, eos_token_id=TOKENIZER.eos_token_id,
    ),
    "gpt-neox": GPTNeoXConfig(
        **COMMON, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4
    ),
    "bitnet": BitNetConfig(**COMMON, **SIZES),
    "qwen3-moe": Qwen3MoeConfig(
        **COMMON, **SIZES, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=1
    ),
}  # fmt: skip


def make_target(family: str = "llama") -> Target:
    torch.manual_seed(0)
    model = Auto.from_config(FAMILIES[family], attn_implementation="sdpa").eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # they start at zero, where a forgotten bias would not show
            torch.nn.init.normal_(parameter, std=0.2)
    return Target(model, TOKENIZER, family)


def make_verbalizer(family: str = "llama", mode: str = "replace", stops: int = 40) -> Verbalizer:
    """A random verbalizer with many stop tokens, so that rows end at different lengths."""
    verbalizer = Verbalizer.from_target(make_target(family), Injection(mode=mode, block=0))
    extra = tuple(range(VOCAB - stops, VOCAB))
    verbalizer.prompt = dataclasses.replace(verbalizer.prompt, stop_ids=(*verbalizer.prompt.stop_ids, *extra))
    return verbalizer


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(7, 32, generator=torch.Generator().manual_seed(3))


def plain_logits(verbalizer: Verbalizer, vector: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """Logits after the prompt and `ids`: one row, no cache, the model's own forward."""
    with torch.no_grad(), verbalizer.adding(vector[None], verbalizer.prompt.position):
        embeds = torch.cat(
            [verbalizer.prompt_embeds(vector[None]), verbalizer.arch.embed(torch.tensor([ids]).long())], 1
        )
        logits = verbalizer.model(inputs_embeds=embeds, use_cache=False).logits[0, -1].float()
    logits[list(verbalizer.prompt.banned_ids)] = float("-inf")
    return logits


def is_greedy(verbalizer: Verbalizer, vector: torch.Tensor, ids: list[int], stopped: bool) -> bool:
    """Whether every token, and the stop, is the plain forward's best up to a tie below 1e-4."""
    for step in range(len(ids) + stopped):
        logits = plain_logits(verbalizer, vector, ids[:step])
        best = logits[list(verbalizer.prompt.stop_ids)].max() if step == len(ids) else logits[ids[step]]
        if best < logits.max() - 1e-4:
            return False
    return True


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_a_plain_forward(family, mode, vectors):
    verbalizer = make_verbalizer(family, mode)
    for vector, (completion,) in zip(vectors, LocalEngine(verbalizer).generate(vectors, max_tokens=12), strict=True):
        assert is_greedy(verbalizer, vector, completion.ids, completion.stop == "stop")
        assert completion.stop == "stop" or len(completion.ids) == 12


@pytest.mark.parametrize("family", ["llama", "llama3-rope", "qwen2", "qwen3", "mistral"])
def test_the_lean_step_agrees_with_the_models_forward(family, vectors):
    verbalizer = make_verbalizer(family)
    assert supports(verbalizer.model, 15)
    lean = LocalEngine(verbalizer, stepper=DirectStepper).generate(vectors, samples=4, temperature=1.0, max_tokens=12)
    plain = LocalEngine(verbalizer, stepper=CachedStepper).generate(vectors, samples=4, temperature=1.0, max_tokens=12)
    for ours, theirs in zip(lean, plain, strict=True):
        assert [one.ids for one in ours] == [one.ids for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("variant", [{}, {"rslora": True}, {"dora": True}])
def test_the_lean_step_agrees_with_the_forward_of_an_adapted_model(family, variant, vectors):
    verbalizer = make_verbalizer(family)
    with_lora(verbalizer.model, AdapterConfig(rank=4, alpha=12, **variant), seed=1)
    for name, parameter in verbalizer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    groups = [
        LocalEngine(verbalizer, stepper=kind).generate(vectors, samples=4, temperature=1.0, max_tokens=12)
        for kind in (DirectStepper, CachedStepper)
    ]
    for ours, theirs in zip(*groups, strict=True):
        assert [one.ids for one in ours] == [one.ids for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_lean_step_declines_what_it_would_compute_wrongly():
    assert not any(supports(make_target(family).model, 15) for family in ("gemma3", "gpt2", "gpt-neox", "bitnet"))
    window = make_target("mistral-window").model
    assert supports(window, 6)
    assert not supports(window, 7)
    assert not supports(make_target().model.bfloat16(), 15)
    hooked = make_target().model
    hooked.model.layers[0].register_forward_hook(lambda module, args, output: output)
    assert not supports(hooked, 15)


@pytest.mark.parametrize("temperature", [0.7, 1.3])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_logprobs_are_those_of_the_update(family, temperature, vectors):
    verbalizer = make_verbalizer(family)
    groups = LocalEngine(verbalizer).generate(vectors, samples=3, temperature=temperature, max_tokens=10)
    stopped = 0
    for vector, group in zip(vectors, groups, strict=True):
        for one in group:
            ids = torch.tensor([[*one.ids, *([one.stop_id] if one.stop == "stop" else [])]])
            with torch.no_grad():
                again = verbalizer.logprobs(vector[None], ids, torch.ones_like(ids), temperature=temperature)[0]
            assert one.logprobs == pytest.approx(again.tolist(), abs=1e-4)
            stopped += one.stop == "stop"
    assert stopped


def test_a_sample_depends_only_on_its_seed_row_and_number(vectors):
    verbalizer = make_verbalizer()
    whole = LocalEngine(verbalizer).generate(vectors, samples=4, temperature=1.0, max_tokens=12)
    alone = LocalEngine(verbalizer, batch=1).generate(vectors[:3], samples=2, temperature=1.0, max_tokens=12)
    odd = LocalEngine(verbalizer, batch=5).generate(vectors, samples=4, temperature=1.0, max_tokens=12)
    assert [[one.ids for one in group[:2]] for group in whole[:3]] == [[one.ids for one in group] for group in alone]
    assert [[one.ids for one in group] for group in whole] == [[one.ids for one in group] for group in odd]
    other = LocalEngine(verbalizer).generate(
        vectors, numbered(10, len(vectors)), samples=4, temperature=1.0, max_tokens=12
    )
    assert [[one.ids for one in group] for group in whole] != [[one.ids for one in group] for group in other]
    assert len({tuple(one.ids) for group in whole for one in group}) > len(vectors)


def test_a_weight_update_is_seen_by_the_next_call(vectors):
    verbalizer = make_verbalizer()
    engine = LocalEngine(verbalizer)
    before = engine.generate(vectors, max_tokens=8)
    with torch.no_grad():
        for parameter in verbalizer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3)
    after = engine.generate(vectors, max_tokens=8)
    assert [group[0].ids for group in before] != [group[0].ids for group in after]
    assert all(is_greedy(verbalizer, v, g[0].ids, g[0].stop == "stop") for v, g in zip(vectors, after, strict=True))


def test_an_adapter_is_decoded_with_its_adapter(vectors):
    verbalizer = make_verbalizer()
    plain = LocalEngine(verbalizer).generate(vectors, max_tokens=8)
    with_lora(verbalizer.model, AdapterConfig(rank=4), seed=1)
    for name, parameter in verbalizer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    groups = LocalEngine(verbalizer).generate(vectors, max_tokens=8)
    assert [group[0].ids for group in plain] != [group[0].ids for group in groups]
    assert all(is_greedy(verbalizer, v, g[0].ids, g[0].stop == "stop") for v, g in zip(vectors, groups, strict=True))


def test_banned_tokens_are_never_written(vectors):
    verbalizer = make_verbalizer()
    groups = LocalEngine(verbalizer).generate(vectors, samples=8, temperature=5.0, max_tokens=20)
    written = {token for group in groups for one in group for token in one.ids}
    assert verbalizer.prompt.banned_ids
    assert not written & {*verbalizer.prompt.banned_ids, *verbalizer.prompt.stop_ids}


def test_an_unfinished_completion_is_a_failed_parse(vectors):
    verbalizer = make_verbalizer(stops=0)
    ((one,), *_) = LocalEngine(verbalizer).generate(vectors, max_tokens=3)
    assert (one.stop, one.explanation, len(one.ids)) == ("length", None, 3)
    assert one.text == TOKENIZER.decode(one.ids, skip_special_tokens=True)


def test_no_vectors_give_no_completions():
    assert LocalEngine(make_verbalizer()).generate(torch.zeros(0, 32), max_tokens=3) == []


def test_bad_arguments_are_named(vectors):
    engine = LocalEngine(make_verbalizer())
    with pytest.raises(UsageError, match=r"vectors have shape \(7, 31\), expected \[n, 32\]"):
        engine.generate(vectors[:, :31], max_tokens=3)
    with pytest.raises(UsageError, match=r"Lower max_tokens to 61 or less"):
        engine.generate(vectors, max_tokens=62)
    with pytest.raises(UsageError, match="samples 0, max_tokens 3, temperature 0"):
        engine.generate(vectors, samples=0, max_tokens=3)
    with pytest.raises(UsageError, match="batch is 0"):
        LocalEngine(engine.verbalizer, batch=0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_a_target_is_continued_as_a_plain_forward_would(family):
    target = make_target(family)
    start = TOKENIZER("The old fox walked home.")["input_ids"]
    (written,) = continue_text(target, start, samples=1, max_tokens=10, temperature=0.0)
    for step, token in enumerate(written):
        with torch.no_grad():
            logits = target.model(torch.tensor([[*start, *written[:step]]]), use_cache=False).logits[0, -1]
        assert logits[token] > logits.max() - 1e-4


def test_continuations_follow_the_targets_distribution():
    target = make_target()
    start = TOKENIZER("The fox")["input_ids"]
    drawn = torch.tensor([row[0] for row in continue_text(target, start, samples=4000, max_tokens=1, key=(2, 0))])
    with torch.no_grad():
        p = target.model(torch.tensor([start])).logits[0, -1].softmax(-1)
    top = p.topk(8).indices
    for token in top:
        deviation = (p[token] * (1 - p[token]) / 4000).sqrt()
        assert abs((drawn == token).float().mean() - p[token]) < 4 * deviation


def test_continuations_end_before_their_stop_token():
    target = make_target()
    start = TOKENIZER("The fox")["input_ids"]
    stop_ids = range(VOCAB // 2)
    rows = continue_text(target, start, samples=32, max_tokens=8, key=(2, 0), stop_ids=stop_ids)
    free = continue_text(target, start, samples=32, max_tokens=8, key=(2, 0))
    for row, unbound in zip(rows, free, strict=True):
        assert row == unbound[: len(row)]
        assert len(row) == 8 or unbound[len(row)] in stop_ids


def test_a_continuation_beyond_the_context_is_refused():
    with pytest.raises(UsageError, match=r"cannot continue 60 tokens by 5: .* 64 together"):
        continue_text(make_target(), [1] * 60, samples=1, max_tokens=5)
    with pytest.raises(UsageError, match="cannot continue 0 tokens"):
        continue_text(make_target(), [], samples=1, max_tokens=5)


class Backwards:
    """An engine of a stranger: what the local one writes, from the last row to the first."""

    def __init__(self, verbalizer, _reconstructor) -> None:
        self.local = LocalEngine(verbalizer)

    def generate(self, vectors, keys=None, *, samples=1, temperature=0.0, max_tokens):
        keys = numbered(0, len(vectors)) if keys is None else keys
        how = {"samples": samples, "temperature": temperature, "max_tokens": max_tokens}
        return self.local.generate(vectors.flip(0), list(keys)[::-1], **how)[::-1]


@pytest.mark.parametrize("samples", [1, 5])
def test_a_strangers_engine_is_one_registration_and_its_readings_have_probabilities(monkeypatch, samples):
    monkeypatch.setitem(engines.ENGINES, "backwards", Backwards)
    text = "Our hero Pavel rested beside the desert. Strangers called his kind a fox."
    theirs = legible.load("builtin", engine="backwards").read(text, samples=samples)
    ours = legible.load("builtin").read(text, samples=samples)
    assert [reading.explanation for reading in theirs] == [reading.explanation for reading in ours]
    probabilities = [claim.p_true for reading in theirs for claim in reading.claims]
    assert probabilities == pytest.approx([claim.p_true for reading in ours for claim in reading.claims], abs=1e-4)
    assert any(p is not None for p in probabilities)
