"""Optimizers of one role: AdamW, and Muon for the 2-D weights inside blocks; schedules; gradient clipping.

Nothing here knows what is trained. The state is plain tensors by name, so that it fits a safetensors file.
Muon: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), as `torch.optim.Muon` has it.
"""

import math

import torch
from torch import Tensor, nn

from legible.config import OptimizerConfig
from legible.errors import TrainingError
from legible.fileio import fault_point

BETAS = (0.9, 0.95)
FLOOR = 0.1  # schedules end at a tenth of the peak
MAX_SKIPS_IN_A_ROW = 20


def schedule_factor(step: int, config: OptimizerConfig, steps: int) -> float:
    """Share of the peak learning rate at `step` (from 0) of `steps`: linear warm-up, then the decay; in (0, 1]."""
    if step < config.warmup:
        return (step + 1) / (config.warmup + 1)
    done = min(1.0, (step - config.warmup) / max(1, steps - config.warmup))
    if config.schedule == "linear":
        return 1.0 - (1.0 - FLOOR) * done
    if config.schedule == "cosine":
        return FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def muon_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable 2-D weights inside blocks (any `nn.ModuleList`), adapters left out, by name."""
    inside = {
        id(parameter)
        for part in module.modules()
        if isinstance(part, nn.ModuleList)
        for parameter in part.parameters()
        if parameter.ndim == 2
    }
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and id(parameter) in inside and "lora_" not in name
    }


class RoleOptimizer:
    """One AdamW (and one Muon when `muon_lr` > 0) over the trainable parameters of a module.

    A step with a non-finite gradient changes nothing and is counted in `skipped`; twenty in a row are an error.
    """

    def __init__(self, module: nn.Module, config: OptimizerConfig, steps: int) -> None:
        self.config = config
        self.steps = steps
        self.skipped = 0
        self._in_a_row = 0
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        blocks = muon_parameters(module) if config.muon_lr > 0 else {}
        rest = {name: p for name, p in self.parameters.items() if name not in blocks}
        wide = [name for name, p in rest.items() if p.ndim >= 2]
        flat = [name for name, p in rest.items() if p.ndim < 2]  # norms and biases are not decayed
        self._names: dict[str, list[str]] = {"adamw": wide + flat, "muon": list(blocks)}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        if rest:
            groups = [
                {"params": [rest[name] for name in wide], "weight_decay": config.weight_decay},
                {"params": [rest[name] for name in flat], "weight_decay": 0.0},
            ]
            self._optimizers["adamw"] = torch.optim.AdamW(groups, lr=config.lr, betas=BETAS, fused=True)
        if blocks:
            self._optimizers["muon"] = torch.optim.Muon(
                list(blocks.values()), lr=config.muon_lr, weight_decay=config.weight_decay
            )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def step(self, step: int) -> float:
        """Clip, set the scheduled rates and update; gradients are forgotten afterwards.

        Args:
            step: index of the step in the schedule, from 0.

        Returns:
            The gradient norm before clipping; infinite or NaN when the step was skipped.

        Raises:
            TrainingError: twenty steps in a row had non-finite gradients.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip))
        if not math.isfinite(norm):
            self._skip()
            return norm
        self._in_a_row = 0
        factor = schedule_factor(step, self.config, self.steps)
        for kind, optimizer in self._optimizers.items():
            peak = self.config.lr if kind == "adamw" else self.config.muon_lr
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            fault_point("optimizer")
        self.zero_grad()
        return norm

    def _skip(self) -> None:
        self.skipped += 1
        self._in_a_row += 1
        self.zero_grad()
        if self._in_a_row >= MAX_SKIPS_IN_A_ROW:
            raise TrainingError(
                f"{self._in_a_row} optimizer steps in a row had non-finite gradients; nothing was learned in them.\n"
                "  The usual cause is a learning rate that is too high, or float16 weights.\n"
                f"  Lower lr (now {self.config.lr:g}) or muon_lr (now {self.config.muon_lr:g}) and run again."
            )

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as named tensors."""
        tensors = {"counts": torch.tensor([self.skipped, self._in_a_row])}
        for kind, optimizer in self._optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for key, value in values.items():
                    tensors[f"{kind}|{self._names[kind][index]}|{key}"] = value
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` returned for the same module and configuration."""
        self.skipped, self._in_a_row = (int(count) for count in tensors["counts"])
        for kind, optimizer in self._optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            index_of = {name: index for index, name in enumerate(self._names[kind])}
            for name, value in tensors.items():
                if name.startswith(f"{kind}|"):
                    _, parameter, key = name.split("|")
                    state.setdefault(index_of[parameter], {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
