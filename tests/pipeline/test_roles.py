"""One base in memory, three roles: LoRA changes its own role, nothing else, and merges into plain weights."""

import pytest
import torch
from families import DEPTH, VOCAB, WIDTH, tiny

from legible.config import AdapterConfig
from legible.engines.local import LocalEngine
from legible.errors import UsageError
from legible.injection import Injection
from legible.models import Reconstructor, Target, Verbalizer
from legible.models.lora import StopRowHead
from legible.models.roles import reference_copy, shared_roles, trainable_parameters, with_lora

ADAPTERS = {
    "lora": AdapterConfig(rank=4),
    "rslora": AdapterConfig(rank=4, rslora=True),
    "dora": AdapterConfig(rank=4, dora=True),
}
IDS = torch.tensor([[9, 5, 1], [7, 7, 1]])
MASK = torch.ones_like(IDS)


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))


def train(verbalizer: Verbalizer, reconstructor: Reconstructor, vectors: torch.Tensor) -> None:
    """Two steps in which both roles take turns inside one graph."""
    roles = (verbalizer, reconstructor)
    optimizer = torch.optim.SGD([p for role in roles for p in trainable_parameters(role).values()], lr=0.02)
    for _ in range(2):
        loss = -verbalizer(vectors, IDS, MASK).mean() + (reconstructor(IDS, MASK) - vectors).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gemma3_text", "gpt2", "gpt_neox", "bitnet"])
@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_three_roles_share_one_base_and_only_the_trained_ones_change(family, adapter, vectors):
    target = tiny(family)
    before, sha = target.logits(IDS, MASK), target.sha256()
    verbalizer, reconstructor = shared_roles(target, 1, Injection(), ADAPTERS[adapter], seed=0)
    owned = {p.data_ptr() for p in target.model.parameters()}
    for role in (verbalizer, reconstructor):
        frozen = [p for p in role.parameters() if not p.requires_grad]
        assert {p.data_ptr() for p in frozen} <= owned  # no second copy of the base
    fresh = Verbalizer.from_target(target, Injection()), Reconstructor.from_target(target, 1)
    with torch.no_grad():
        first, back = verbalizer(vectors, IDS, MASK), reconstructor(IDS, MASK)
        assert torch.allclose(first, fresh[0](vectors, IDS, MASK), atol=1e-5)
        assert torch.allclose(back, fresh[1](IDS, MASK), atol=1e-5)
        train_ready = [name for name in trainable_parameters(reconstructor) if "lora_" not in name]
        assert train_ready == ["value_head.weight"]
    train(verbalizer, reconstructor, vectors)
    with torch.no_grad():
        assert not torch.allclose(verbalizer(vectors, IDS, MASK), first, atol=1e-4)
        assert not torch.allclose(reconstructor(IDS, MASK), back, atol=1e-4)
    assert torch.equal(target.logits(IDS, MASK), before)
    target._sha256 = None
    assert target.sha256() == sha


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_an_adapter_is_merged_into_an_ordinary_model_where_that_is_asked(family, adapter, vectors, tmp_path):
    target = tiny(family)
    verbalizer, reconstructor = shared_roles(target, 1, Injection(), ADAPTERS[adapter], seed=0)
    train(verbalizer, reconstructor, vectors)
    verbalizer.save(tmp_path / "av", merged=True)
    reconstructor.save(tmp_path / "ar", merged=True)
    loaded = Verbalizer.load(tmp_path / "av", verbalizer.prompt, verbalizer.injection)
    read = Reconstructor.load(tmp_path / "ar", reconstructor.prompt)
    assert not any("lora" in name for name, _ in (*loaded.named_parameters(), *read.named_parameters()))
    with torch.no_grad():
        assert torch.allclose(loaded(vectors, IDS, MASK), verbalizer(vectors, IDS, MASK), atol=1e-4)
        assert torch.allclose(read(IDS, MASK), reconstructor(IDS, MASK), atol=1e-4)


def test_an_adapted_verbalizer_writes_as_its_merged_self_does(vectors, tmp_path):
    verbalizer, reconstructor = shared_roles(tiny("llama"), 1, Injection("add"), ADAPTERS["lora"], seed=0)
    train(verbalizer, reconstructor, vectors)
    verbalizer.save(tmp_path, merged=True)
    merged = Verbalizer.load(tmp_path, verbalizer.prompt, verbalizer.injection)
    adapted, plain = (LocalEngine(v).generate(vectors, max_tokens=8) for v in (verbalizer, merged))
    assert [done[0].ids for done in adapted] == [done[0].ids for done in plain]


def test_the_adapters_start_depends_on_the_seed_alone():
    target = tiny("llama")
    state = torch.get_rng_state()
    starts = []
    for seed in (3, 3, 4):
        verbalizer, _ = shared_roles(target, 1, Injection(), ADAPTERS["lora"], seed=seed)
        starts.append(torch.cat([p.flatten() for p in trainable_parameters(verbalizer).values()]))
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_role_takes_one_adapter():
    verbalizer = Verbalizer.from_target(tiny("llama"), Injection())
    with_lora(verbalizer.model, ADAPTERS["lora"])
    with pytest.raises(UsageError, match="has a LoRA adapter already"):
        with_lora(verbalizer.model, ADAPTERS["lora"])


def test_full_fine_tuning_trains_everything_that_runs():
    target = tiny("llama")
    verbalizer, reconstructor = Verbalizer.from_target(target, Injection()), Reconstructor.from_target(target, 1)
    assert set(trainable_parameters(verbalizer)) == {name for name, _ in verbalizer.named_parameters()}
    left_out = {name for name, _ in reconstructor.named_parameters()} - set(trainable_parameters(reconstructor))
    assert left_out == {"backbone.norm.norm.weight"}
    reconstructor(IDS, MASK).sum().backward()
    assert all(p.grad is not None for p in trainable_parameters(reconstructor).values())


@pytest.mark.parametrize("full", [True, False])
def test_a_reference_keeps_the_old_policy_and_shares_what_does_not_train(full, vectors):
    target = tiny("llama")
    verbalizer, reconstructor = shared_roles(target, 1, Injection(), ADAPTERS["lora"], seed=0)
    if full:
        verbalizer = Verbalizer.from_target(target, Injection())
    reference = reference_copy(verbalizer)
    assert not trainable_parameters(reference)
    assert trainable_parameters(verbalizer)
    with torch.no_grad():
        before = reference(vectors, IDS, MASK)
    train(verbalizer, reconstructor, vectors)
    with torch.no_grad():
        assert torch.equal(reference(vectors, IDS, MASK), before)
        assert not torch.allclose(verbalizer(vectors, IDS, MASK), before, atol=1e-4)
    shared = {p.data_ptr() for p in verbalizer.parameters()} & {p.data_ptr() for p in reference.parameters()}
    assert bool(shared) is not full


def unseen_stop(family: str) -> Target:
    """A target whose end-of-text row is another token's row, as in vocabularies never seen in training."""
    target = tiny(family)
    with torch.no_grad():
        weight = target.model.get_output_embeddings().weight
        weight[1] = weight[20]
    return target


@pytest.mark.parametrize("family", ["llama", "qwen3"])  # qwen3 here ties its head to its embedding
def test_a_stop_token_that_a_frozen_head_cannot_emit_is_found_and_mended(family, vectors, tmp_path):
    target = unseen_stop(family)
    adapted = Verbalizer.from_target(target, Injection())
    with_lora(adapted.model, ADAPTERS["lora"])
    with pytest.raises(UsageError, match=r"cannot tell the stop token 1 from token 20 \(cosine 1.000\)"):
        adapted.check_stop_token()
    verbalizer, reconstructor = shared_roles(target, 1, Injection(), ADAPTERS["lora"], seed=0)
    verbalizer.check_stop_token()
    assert isinstance(verbalizer.model.get_output_embeddings(), StopRowHead)
    train(verbalizer, reconstructor, vectors)
    ids, twin = torch.tensor([[1]]), torch.tensor([[20]])
    with torch.no_grad():
        gap = verbalizer(vectors[:1], ids, ids * 0 + 1) - verbalizer(vectors[:1], twin, ids * 0 + 1)
    assert gap.abs().item() > 1e-4  # the twins have come apart
    verbalizer.save(tmp_path, merged=True)
    loaded = Verbalizer.load(tmp_path, verbalizer.prompt, verbalizer.injection)
    with torch.no_grad():
        assert torch.allclose(loaded(vectors, IDS, MASK), verbalizer(vectors, IDS, MASK), atol=1e-4)
        input_rows = loaded.arch.embedding.weight
        assert torch.equal(input_rows, verbalizer.arch.embedding.weight)


def test_full_fine_tuning_needs_no_mending():
    Verbalizer.from_target(unseen_stop("llama"), Injection()).check_stop_token()


def test_a_distinct_stop_row_passes_with_a_frozen_head():
    verbalizer, _ = shared_roles(tiny("llama"), 1, Injection(), ADAPTERS["lora"], seed=0)
    verbalizer.check_stop_token()
    assert not isinstance(verbalizer.model.get_output_embeddings(), StopRowHead)


def test_the_shapes_here_are_those_of_the_families():
    assert IDS.max() < VOCAB
    assert DEPTH > 1
