"""Joint training by reinforcement: the verbalizer by GRPO, the reconstructor by regression on the same rollouts.

One step (`joint.py`): sample explanations of some activations; read them back with the reconstructor; the closer the
vector, the higher the reward; update the verbalizer by the clipped policy loss with the KL to the warm start in the
loss; update the reconstructor on what it has just read. The best weights by a held-out measure are kept, the warm
start included: quality often peaks early and drifts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file

from legible.config import PreferConfig, RLConfig
from legible.data.store import Store
from legible.engines import Engine, make_engine
from legible.engines.local import WRITTEN_TOGETHER
from legible.errors import UsageError
from legible.fileio import finite, write_directory
from legible.identity import STATE
from legible.models.reconstructor import Reconstructor
from legible.models.roles import reference_copy
from legible.models.verbalizer import Verbalizer
from legible.train.joint import MICRO_TOKENS, JointTrainer
from legible.train.loop import Loop, Metrics, put_trained, save_tensors, trained_tensors
from legible.train.needs import check_rl
from legible.train.optim import RoleOptimizer
from legible.train.terms.extras import Extras, Knowledge

Measure = Callable[[Engine, Reconstructor], dict[str, float]]
"""Held-out scores by name; measured before the first step, then every `evaluate_every` steps and at the end."""


@dataclass(frozen=True)
class RLResult:
    """What the joint training left; `measured` holds every held-out measurement with its step."""

    steps: int
    select_by: str
    best: float | None
    best_step: int  # 0 is the warm start
    measured: list[dict[str, float]]
    parse_failures: int
    skipped_groups: int  # equal rewards
    skipped_steps: int  # optimizer steps with non-finite gradients, both roles


def train_rl(
    config: RLConfig,
    verbalizer: Verbalizer,
    reconstructor: Reconstructor,
    layer: int,
    store: Store,
    measure: Measure,
    out: Path,
    *,
    made_by: str,
    engine: Engine | None = None,
    knowledge: Knowledge | None = None,
) -> RLResult:
    """Train both roles jointly; afterwards they hold the best weights, which also stand in `out`.

    Args:
        config: everything about the training.
        verbalizer, reconstructor: the warm start; both are changed in place.
        layer: layer K of the store that is read.
        store: captured activations of the training split.
        measure: held-out scores; `config.select_by` names the one that chooses (larger is better).
        out: gets `av/`, `ar/` and `metrics.jsonl`; its caller has claimed it, and unfinished work resumes from its
            last state.
        made_by: digest of all that the training depends on; a state is resumed only under the same one.
        engine: samples from `verbalizer`; the local engine unless given.
        knowledge: language, lookup and target, for the options that need them.

    Raises:
        NotEnoughMemoryError: it does not fit beside the warm start.
        TrainingError: no rollouts differ in reward, only non-finite gradients, or a full disk.
        UsageError: `select_by` is no measure, the store is too small, or an option lacks what it needs.
    """
    kept = Kept(config, verbalizer, reconstructor, measure, out)
    if len(store) < config.prompts:
        raise UsageError(f"rl.prompts is {config.prompts}, but the store has {len(store)} rows.\n  Lower rl.prompts.")
    check_rl(config, verbalizer, reconstructor, MICRO_TOKENS, WRITTEN_TOGETHER)
    reference = reference_copy(verbalizer) if config.kl > 0 else None
    engine = engine or make_engine(verbalizer)
    extras = Extras.of(config, store, layer, verbalizer.tokenizer, knowledge, out)
    joint = JointTrainer(config, verbalizer, reconstructor, engine, store, layer, reference, extras)
    return kept.train(joint, joint.optimizers, made_by)


def check_select_by(section: str, config: RLConfig | PreferConfig, measures: Iterable[str]) -> None:
    """Refuse to choose the best step by something that is not measured.

    Raises:
        UsageError: names the measures.
    """
    if config.select_by not in (known := sorted(measures)):
        raise UsageError(
            f"{section}.select_by is {config.select_by!r}, but the held-out measures are:\n"
            f"  {', '.join(known)}.\n  Choose one of these."
        )


class Trainer(Protocol):
    """What is trained step by step: joint training, or preference training."""

    @property
    def skipped(self) -> int:
        """Optimizer steps with non-finite gradients so far."""
        ...

    def step(self, index: int) -> Metrics:
        """One step."""
        ...


class Kept:
    """The best weights by the held-out measure, and what is counted across the steps.

    `memory` is part of the loop's state; the best weights lie in `best.safetensors` until the end. A killed run
    measures again from its last state, so the file may be newer than the memory but is then written again.
    """

    def __init__(
        self,
        config: RLConfig | PreferConfig,
        verbalizer: Verbalizer,
        reconstructor: Reconstructor,
        measure: Measure,
        out: Path,
    ) -> None:
        self.config, self.out = config, out
        self.section = "rl" if isinstance(config, RLConfig) else "prefer"
        self.roles: dict[str, Verbalizer | Reconstructor] = {"av": verbalizer, "ar": reconstructor}
        self.memory: dict[str, Any] = {"measured": [], "best": None, "best_step": 0, "counts": {}}
        engine = make_engine(verbalizer)
        self._measure = lambda: measure(engine, reconstructor)

    def train(self, trainer: Trainer, optimizers: Mapping[str, RoleOptimizer], made_by: str) -> RLResult:
        """Train the roles that have an optimizer, or go on; measure before the first step, now and then, at the end.

        Returns:
            What was measured and counted. The roles hold the best weights then, which also stand in `out`.
        """
        config = self.config
        if config.steps == 0:
            self.measure(0)

        def step(index: int) -> Metrics:
            if index == 0:
                self.measure(0)
            metrics = trainer.step(index)
            self.count(metrics)
            if (index + 1) % config.evaluate_every == 0 or index + 1 == config.steps:
                metrics |= {f"dev_{name}": value for name, value in self.measure(index + 1).items()}
            return metrics

        files = self.out / STATE, self.out / "metrics.jsonl"
        roles = {name: self.roles[name] for name in optimizers}
        given = (self.section, config.steps, config.save_every, *files, roles, optimizers, made_by)
        Loop(*given, memory=self.memory).run(step)
        return self._finish(trainer.skipped)

    def measure(self, step: int) -> dict[str, float]:
        """Score the weights of now, and keep them if they are the best so far.

        Raises:
            UsageError: the measure to select by is not among the scores.
        """
        with torch.no_grad():
            scores = self._measure()
        check_select_by(self.section, self.config, scores)
        self.memory["measured"].append(finite({"step": step, **scores}))
        value, best = finite(scores[self.config.select_by]), self.memory["best"]
        if step == 0 or (value is not None and (best is None or value > best)):
            self.memory.update(best=value, best_step=step)
            save_tensors(self.out / "best.safetensors", self._weights())
        return scores

    def count(self, metrics: Metrics) -> None:
        """Add up what must not be dropped in silence."""
        for name in ("parse_failures", "skipped_groups"):
            self.memory["counts"][name] = self.memory["counts"].get(name, 0) + int(metrics.get(name) or 0)

    def _finish(self, skipped_steps: int) -> RLResult:
        """Put the best weights back and save both roles."""
        self._put_back()
        for name, role in self.roles.items():
            write_directory(self.out / name, role.save)
        return RLResult(
            steps=self.config.steps,
            select_by=self.config.select_by,
            best=self.memory["best"],
            best_step=self.memory["best_step"],
            measured=self.memory["measured"],
            parse_failures=self.memory["counts"].get("parse_failures", 0),
            skipped_groups=self.memory["counts"].get("skipped_groups", 0),
            skipped_steps=skipped_steps,
        )

    def _weights(self) -> dict[str, torch.Tensor]:
        return {f"{name}:{key}": v for name, role in self.roles.items() for key, v in trained_tensors(role).items()}

    def _put_back(self) -> None:
        weights = load_file(self.out / "best.safetensors")
        for name, role in self.roles.items():
            prefix = f"{name}:"
            put_trained(role, {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
