"""Schedules, the split between AdamW and Muon, and gradients that are not finite."""

import pytest
import torch
from torch import nn

from legible.config import OptimizerConfig
from legible.errors import TrainingError
from legible.train.optim import MAX_SKIPS_IN_A_ROW, RoleOptimizer, muon_parameters, schedule_factor


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList(
            [nn.ModuleDict({"map": nn.Linear(4, 4), "norm": nn.LayerNorm(4)}) for _ in range(2)]
        )

    def loss(self, seed: int = 0) -> torch.Tensor:
        hidden = self.embed(torch.randint(5, (6,), generator=torch.Generator().manual_seed(seed)))
        for layer in self.layers:
            hidden = layer["norm"](layer["map"](hidden))
        return hidden.square().sum() + hidden.sum()


def made(config: OptimizerConfig) -> tuple[Blocks, RoleOptimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Blocks()
    return model, RoleOptimizer(model, config, 10)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_a_schedule_warms_up_and_ends_at_a_tenth(kind):
    config = OptimizerConfig(warmup=5, schedule=kind)
    factors = [schedule_factor(step, config, 50) for step in range(51)]
    assert factors[:6] == sorted(factors[:6])
    assert max(factors) == factors[5] == 1.0
    assert factors[50] == pytest.approx(1.0 if kind == "constant" else 0.1)
    assert factors[5:] == sorted(factors[5:], reverse=True)


def test_muon_gets_the_matrices_inside_blocks_and_nothing_else():
    model, _ = made(OptimizerConfig())
    assert set(muon_parameters(model)) == {"layers.0.map.weight", "layers.1.map.weight"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(bad):
    model, optimizer = made(OptimizerConfig(muon_lr=0.01))
    before = weights(model)
    (model.loss() * bad).backward()
    optimizer.step(0)
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    assert optimizer.skipped == 1
    model.loss().backward()
    optimizer.step(1)
    assert optimizer.skipped == 1
    assert not torch.equal(before["embed.weight"], model.embed.weight)


def test_only_bad_gradients_are_an_error():
    model, optimizer = made(OptimizerConfig())
    for step in range(MAX_SKIPS_IN_A_ROW - 1):
        (model.loss() * float("nan")).backward()
        optimizer.step(step)
    (model.loss() * float("nan")).backward()
    with pytest.raises(TrainingError, match=r"20 optimizer steps in a row had non-finite gradients"):
        optimizer.step(19)


def test_a_restored_optimizer_goes_on_bit_for_bit():
    config = OptimizerConfig(muon_lr=0.01, weight_decay=0.1)
    model, optimizer = made(config)
    again, restored = made(config)
    for step in range(6):
        if step == 3:
            again.load_state_dict(model.state_dict())
            restored.load_tensors({name: value.clone() for name, value in optimizer.tensors().items()})
        for one, its in ((model, optimizer), (again, restored))[: 1 if step < 3 else 2]:
            one.loss(step).backward()
            its.step(step)
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(model).items())


def test_gradients_above_the_clip_are_scaled_down():
    model, optimizer = made(OptimizerConfig(clip=1e-3))
    model.loss().backward()
    assert optimizer.step(0) > 1e-3  # the norm before clipping is what is reported
