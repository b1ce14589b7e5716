"""The lenses: products with the Jacobian against an explicit one, the tuned lens against what it is trained to say."""

import pytest
import torch
from families import CONFIGS, VOCAB, WIDTH, tiny
from torch import Tensor

import legible.train.instruments as trainings
from legible.config import CaptureConfig
from legible.documents import Document
from legible.engines.pushing import pushed
from legible.errors import UnsupportedModelError, UsageError
from legible.evaluate.sample import Sample
from legible.instruments import LogitLens, Setting
from legible.instruments.jacobian_lens import JacobianLens, prompts_of
from legible.instruments.lens import head_logits
from legible.instruments.tuned_lens import TunedLens
from legible.models import Arch, Target
from legible.probes import files
from legible.train.instruments import jacobian_lens as jacobian
from legible.train.instruments import tuned_lens as tuned

EXPERTS = {"mixtral", "qwen3_moe"}
PROMPTS = [[0, 5, 9, 30, 7], [0, 11, 40]]


def explicit(target: Target, layer: int, ids: list[int]) -> Tensor:
    """The Jacobian by reverse mode, one output at a time, summed over tokens as the definition says."""
    given = torch.tensor([ids])
    stream = target.streams(given, torch.ones_like(given), (layer,))[layer]
    whole = Arch.find(target.arch.truncated(target.n_layers))

    def last(own: Tensor) -> Tensor:
        handle = whole.blocks[layer].register_forward_hook(lambda *_: own)
        try:
            return whole.stream(whole.embed(given), torch.ones_like(given))[0]
        finally:
            handle.remove()

    full = torch.autograd.functional.jacobian(last, stream)[:, :, 0]  # out token, out, in token, in
    tokens = len(ids)
    return sum(full[after, :, before] for before in range(tokens) for after in range(before, tokens)) / tokens


@pytest.mark.parametrize("family", sorted(set(CONFIGS) - EXPERTS))
def test_forward_products_are_those_of_the_explicit_jacobian(family):
    target = tiny(family)
    changes = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    matrix = sum(explicit(target, 0, ids) for ids in PROMPTS) / len(PROMPTS)
    assert torch.allclose(pushed(target, 0, PROMPTS, changes), changes @ matrix.T, atol=1e-4, rtol=1e-3)
    assert not any(module._forward_hooks for module in target.model.modules())


@pytest.mark.parametrize("family", sorted(EXPERTS))
def test_mixtures_of_experts_are_refused_by_name(family):
    with pytest.raises(UnsupportedModelError, match=f"of the kind {family} cannot be differentiated forward"):
        pushed(tiny(family), 0, PROMPTS, torch.zeros(1, WIDTH))


def test_at_the_last_layer_the_jacobian_lens_is_the_logit_lens():
    target = tiny("llama")
    vectors = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    lens = JacobianLens(target, target.n_layers - 1, prompts=PROMPTS)
    assert torch.equal(lens.logits(vectors), LogitLens(target, target.n_layers - 1).logits(vectors))


def test_a_lens_without_prompts_is_refused():
    with pytest.raises(ValueError, match="at least one prompt"):
        pushed(tiny("llama"), 0, [], torch.zeros(1, WIDTH))
    with pytest.raises(UsageError, match="layer 3 is out of range"):
        pushed(tiny("llama"), 3, PROMPTS, torch.zeros(1, WIDTH))


@pytest.fixture(scope="module")
def rows() -> Sample:
    words = torch.randint(0, VOCAB - 4, (24, 30), generator=torch.Generator().manual_seed(0))
    documents = [Document(f"d{i}", " ".join(f"w{n}" for n in row)) for i, row in enumerate(words.tolist())]
    capture = CaptureConfig(layers=(0,), min_pos=8, max_tokens=40, dtype="float32", positions_per_doc=8)
    return Sample.of_documents(tiny("llama"), documents, capture, 0, None)


def test_final_streams_give_the_targets_own_logits(rows):
    target = tiny("llama")
    found = tuned.final_streams(target, rows)
    for place in (0, 17, len(rows) - 1):
        row = rows.rows[place]
        ids = torch.tensor([target.encode(row.document.text).ids])
        own = target.logits(ids, torch.ones_like(ids))[0, row.pos]
        assert torch.allclose(head_logits(target, found[place][None])[0], own, atol=1e-4)


def test_a_tuned_lens_says_more_of_what_the_target_says_than_the_logit_lens(rows, tmp_path):
    target = tiny("llama")
    setting = Setting(target, 0, others=rows)
    tuned.train(setting, tmp_path / "lens", lambda done, total: None, steps=150, batch=64)
    about, _ = files.load(tmp_path / "lens", "tuned_lens", "")
    assert about["kl"] < about["logit_lens_kl"]
    lens = TunedLens.load(tmp_path / "lens", target, 0)
    wanted = head_logits(target, tuned.final_streams(target, rows)).log_softmax(-1)

    def kl(logits: Tensor) -> float:
        return float((wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1).mean())

    assert kl(lens.logits(rows.vectors)) < kl(LogitLens(target, 0).logits(rows.vectors))
    again = tmp_path / "again"
    tuned.train(setting, again, lambda done, total: None, steps=150, batch=64)
    assert torch.equal(TunedLens.load(again, target, 0).weight, lens.weight)


def test_the_saved_jacobian_reads_as_its_forward_products_do(rows, tmp_path):
    target = tiny("gpt2")
    jacobian.train(Setting(target, 0, others=rows), tmp_path / "lens", lambda done, total: None)
    saved = JacobianLens.load(tmp_path / "lens", target, 0)
    forward = JacobianLens(target, 0, prompts=prompts_of(target, rows))
    assert saved.matrix.shape == (WIDTH, WIDTH)
    assert saved.needs.texts == len(forward.prompts) == 8
    assert torch.allclose(saved.logits(rows.vectors[:5]), forward.logits(rows.vectors[:5]), atol=1e-3)


def test_a_training_that_nobody_can_read_fails_the_import(monkeypatch):
    fewer = {name: one for name, one in trainings.INSTRUMENTS.items() if name != "tuned-lens"}
    monkeypatch.setattr(trainings, "INSTRUMENTS", fewer)
    with pytest.raises(ImportError, match="trained instruments differ in: tuned-lens"):
        trainings._found()
    with pytest.raises(UsageError, match="no training of an instrument 'probes': expected jacobian-lens, "):
        trainings.train_instrument("probes", Setting(tiny("llama"), 0), None)
