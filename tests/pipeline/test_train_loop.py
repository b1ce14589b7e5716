"""The loop under every training: it saves on Ctrl-C, resumes bit for bit, and says what is wrong with its files."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_jobs as jobs
from torch import nn

from legible.errors import UsageError
from legible.train.loop import Loop, generator
from legible.train.optim import RoleOptimizer


def toy(state: Path) -> tuple[Loop, nn.Linear, RoleOptimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(3, 3)
    optimizer = RoleOptimizer(model, jobs.OPTIMIZER, 8)
    modules, optimizers = {"toy": model}, {"toy": optimizer}
    return Loop("toy", 8, 3, state, state.with_name("m.jsonl"), modules, optimizers, "a"), model, optimizer


def toy_step(model: nn.Linear, optimizer: RoleOptimizer, index: int) -> dict:
    loss = model(torch.randn(4, 3, generator=generator(0, "toy", index))).square().mean()
    loss.backward()
    value = loss.item()
    optimizer.step(index)
    return {"loss": value}


def test_ctrl_c_saves_the_finished_step_and_the_next_run_goes_on(tmp_path):
    whole, model, optimizer = toy(tmp_path / "whole" / "s.safetensors")
    whole.run(lambda index: toy_step(model, optimizer, index))

    def interrupted(index: int) -> dict:
        if index == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return toy_step(broken_model, broken_optimizer, index)

    first, broken_model, broken_optimizer = toy(tmp_path / "broken" / "s.safetensors")
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupted)
    second, broken_model, broken_optimizer = toy(tmp_path / "broken" / "s.safetensors")
    started: list[int] = []
    second.run(lambda index: started.append(index) or toy_step(broken_model, broken_optimizer, index))
    assert started == [5, 6, 7]
    for name in ("s.safetensors", "m.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_state_of_another_configuration_or_a_damaged_one_is_refused(tmp_path):
    loop, model, optimizer = toy(tmp_path / "s.safetensors")
    loop.run(lambda index: toy_step(model, optimizer, index))
    other = dataclasses.replace(loop, made_by="b")
    with pytest.raises(UsageError, match=r"was made by another configuration \(a, now b\)"):
        other.run(lambda index: {})
    loop.state.write_bytes(loop.state.read_bytes()[:-7])
    with pytest.raises(UsageError, match=r"s\.safetensors is not a whole training state"):
        loop.run(lambda index: {})


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    program = (
        "import resource, sys, torch; from pathlib import Path; from legible.train.loop import save_tensors\n"
        "path = Path(sys.argv[1]); save_tensors(path, {'a': torch.zeros(4)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save_tensors(path, {'a': torch.zeros(4000)})"
    )
    path = tmp_path / "state.safetensors"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert re.search(r"TrainingError: cannot write .*File too large", done.stderr)
    assert str(path) in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    assert path.stat().st_size < 1000
