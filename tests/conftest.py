"""What several test files share: a whole run of the tiny recipe, made very small, and the program called in-process."""

import os
import signal
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # `auto` is the processor: answers are compared bit for bit
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two torch threads on a busy 2-core machine run 3-4 times slower

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from micro import MICRO

signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background inherits an ignored Ctrl-C


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
