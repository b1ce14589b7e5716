"""The Jacobian lens' matrix: the products of every unit vector, stacked."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from legible.engines.pushing import pushed
from legible.instruments.base import Setting
from legible.instruments.jacobian_lens import KIND, prompts_of
from legible.probes import files


def train(setting: Setting, out: Path, progress: Callable[[int, int], None]) -> None:
    """Average the Jacobian over the beginnings of some documents; `out` holds `J.K` [d_model, d_model]."""
    assert setting.others is not None
    started, target, layer = time.process_time(), setting.target, setting.layer
    prompts = prompts_of(target, setting.others)
    total = torch.zeros(target.d_model, target.d_model)
    for done, ids in enumerate(prompts, 1):
        total += pushed(target, layer, [ids], torch.eye(target.d_model)).T
        progress(done, len(prompts))
    about = {
        "d_model": target.d_model,
        "source_layers": [layer],
        "n_prompts": len(prompts),
        "train_cpu_s": time.process_time() - started,
    }
    files.save(out, KIND, about, {f"J.{layer}": (total / len(prompts)).contiguous()})
