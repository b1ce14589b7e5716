"""Every supported family, tiny and random, against a plain unbatched, uncached forward written out here."""

import copy

import pytest
import torch
from families import CONFIGS, DEPTH, VOCAB, WIDTH, tiny
from torch import Tensor

from legible.engines.local import LocalEngine
from legible.errors import UnsupportedModelError
from legible.injection import Injection
from legible.models import Arch, Reconstructor, Target, Verbalizer
from legible.models.arch import FAMILIES


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


def test_training_mode_leaves_dropout_off(rng):
    verbalizer = Verbalizer.from_target(tiny("gpt2"), Injection())  # its configuration has dropout 0.1
    vectors, ids = torch.randn(1, WIDTH, generator=rng), torch.tensor([[9, 5, 1]])
    mask = torch.ones_like(ids)
    assert torch.equal(verbalizer.train()(vectors, ids, mask), verbalizer.eval()(vectors, ids, mask))
