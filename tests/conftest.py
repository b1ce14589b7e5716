"""What several test files share: a whole run of the tiny recipe, made very small, and the program called in-process."""

import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two torch threads on a busy 2-core machine run 3-4 times slower

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background inherits an ignored Ctrl-C

MICRO = (
    "threads=1", "train_documents=60", "dev_documents=16", "capture.positions_per_doc=6",
    "pretrain.steps=12", "pretrain.d_model=32", "pretrain.n_heads=2", "pretrain.d_ff=64", "pretrain.n_layers=3",
    "sft.steps=60", "sft.save_every=15", "rl.steps=2", "rl.prompts=4", "rl.group=4", "rl.max_tokens=24",
    "rl.evaluate_every=1", "rl.save_every=1",
    "calibrate.documents=10", "calibrate.windows=2", "calibrate.samples=3", "calibrate.max_tokens=24",
    "evaluate.documents=8", "evaluate.probe_rows=200", "evaluate.foresight_rows=1", "evaluate.continuations=4",
    "evaluate.max_tokens=24",
)  # fmt: skip
"""Settings that make a run of seconds; its models know nothing, and nothing here asks how good they are."""


class Outcome(NamedTuple):
    """What a call of the program left."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Whatever a test did to torch's threads, the next one starts with one."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def micro_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run of the tiny recipe under the `MICRO` settings."""
    from legible.recipes import resolve
    from legible.recipes.run import run

    out = tmp_path_factory.mktemp("runs") / "micro"
    run(resolve("tiny", layer=1, settings=MICRO), out)
    return out


@pytest.fixture
def legible(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the program: `legible("read", "builtin", "text")` gives its exit code, stdout and stderr."""
    from legible.cli.main import main

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        written = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), written.out, written.err)

    return call
