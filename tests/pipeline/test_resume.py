"""A training killed by SIGKILL and started again ends like an unbroken one, bit for bit."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import train_jobs as jobs

STAGES = ("pretrain", "sft", "rl")
FAULTS = [("pretrain", "optimizer:7"), ("sft", "rename:5"), ("rl", "optimizer:9")]
PASSAGES = {  # some passages of each fault point, the first and the last included
    ("pretrain", "optimizer"): (1, 4, 12),
    ("pretrain", "rename"): (1, 2, 3, 4, 5, 6),
    ("sft", "optimizer"): (1, 33, 120),
    ("sft", "rename"): (1, 2, 5, 9, 13, 17),
    ("rl", "optimizer"): (1, 6, 12),
    ("rl", "rename"): (1, 2, 4, 6, 7),
}
MORE_FAULTS = [(stage, f"{point}:{n}") for (stage, point), numbers in PASSAGES.items() for n in numbers]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Iterator[Path]:
    """One run of every stage that nobody disturbed; equal bits need equal threads."""
    folder = tmp_path_factory.mktemp("unbroken")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    jobs.prepare(folder)
    for stage in STAGES:
        jobs.main(stage, folder)
    yield folder
    torch.set_num_threads(threads)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_and_resumed(stage: str, fault: str, unbroken: Path, folder: Path) -> None:
    """Give `folder` what the stage reads, kill the stage at the fault point, run it again."""
    needed = [unbroken / name for name in ("target", "store", "teach.jsonl")]
    for path in [*needed, *([unbroken / "sft"] if stage == "rl" else [])]:
        (folder / path.name).symlink_to(path)
    command = [sys.executable, jobs.__file__, stage, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["LEGIBLE_FAULT"] = fault
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    jobs.main(stage, folder)


@pytest.mark.parametrize(("stage", "fault"), FAULTS)
def test_a_killed_stage_ends_like_an_unbroken_one(stage, fault, unbroken, tmp_path):
    killed_and_resumed(stage, fault, unbroken, tmp_path)
    assert contents(tmp_path / stage) == contents(unbroken / stage)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "fault"), MORE_FAULTS)
def test_every_fault_point_of_every_stage(stage, fault, unbroken, tmp_path):
    killed_and_resumed(stage, fault, unbroken, tmp_path)
    assert contents(tmp_path / stage) == contents(unbroken / stage)
