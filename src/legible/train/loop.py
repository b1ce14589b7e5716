"""The resumable loop under every training: state, metrics, progress, Ctrl-C.

The loop calls `step(index)`, which does the whole step and returns its metrics; everything random in a step must
come from (seed, index), so the state is parameters, optimizer tensors and a small memory. A run killed at any
moment and started again ends with the same weights and metrics, bit for bit, as an unbroken one.
"""

import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from legible.config import SFTConfig
from legible.errors import TrainingError, UsageError
from legible.fileio import finite, write_atomic, write_text
from legible.identity import STATE
from legible.models.roles import trainable_parameters
from legible.train.optim import RoleOptimizer

Metrics = dict[str, float | int | str | None]
PLAIN_PROGRESS_SECONDS = 30.0


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """A generator seeded by (seed, what it is for, index): the only randomness of a training step."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw new weights from the seed alone: libraries initialise from the global generator, which is put back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass
class Loop:
    """One training: what is trained, where its state and metrics live.

    `memory` is JSON that a step may change and that survives a kill (the best score so far, counts).
    """

    label: str
    steps: int
    save_every: int
    state: Path
    metrics: Path
    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, RoleOptimizer]
    made_by: str  # digest of the identity: a state is resumed only under the same one
    tags: Mapping[str, str] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    def run(self, step: Callable[[int], Metrics]) -> None:
        """Run or resume all steps; afterwards the modules hold the last step's weights and the state is on disk.

        Raises:
            UsageError: the state on disk is damaged or was made by another configuration.
            TrainingError: the state could not be written (a full disk).
            KeyboardInterrupt: after Ctrl-C, once the state of the finished steps is saved.
        """
        done = self._resume()
        self._trim_metrics(done)
        if done >= self.steps:
            return
        with _stop_flag() as stop, self.metrics.open("a", encoding="utf-8") as log, _progress(self, done) as show:
            for index in range(done, self.steps):
                metrics = step(index)
                log.write(json.dumps(finite({"step": index + 1, **self.tags, **metrics})) + "\n")
                log.flush()
                show(index + 1, metrics)
                last = index + 1 == self.steps
                if last or stop.is_set() or (index + 1) % self.save_every == 0:
                    self._save(index + 1)
                if stop.is_set() and not last:
                    print(f"stopped after step {index + 1}; the same command resumes here", file=sys.stderr)
                    raise KeyboardInterrupt

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"model:{name}:{key}": value for key, value in trained_tensors(module).items()}
        for name, optimizer in self.optimizers.items():
            tensors |= {f"optimizer:{name}:{key}": value for key, value in optimizer.tensors().items()}
        return tensors

    def _save(self, done: int) -> None:
        about = {"step": done, "made_by": self.made_by, "memory": self.memory}
        save_tensors(self.state, self._tensors(), {"legible": json.dumps(about)})

    def _resume(self) -> int:
        if not self.state.exists():
            return 0
        try:
            with safe_open(self.state, framework="pt") as file:
                about = json.loads((file.metadata() or {})["legible"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise UsageError(
                f"{self.state} is not a whole training state ({error}).\n"
                "  The usual cause is a truncated copy. Delete it to start this stage anew, then run the same command."
            ) from None
        if about["made_by"] != self.made_by:
            raise UsageError(
                f"{self.state} was made by another configuration ({about['made_by']}, now {self.made_by}).\n"
                "  The usual cause is a changed option or input. Use another --out, or delete the state to start anew."
            )
        self.memory.update(about["memory"])
        self._take(tensors)
        return int(about["step"])

    def _take(self, tensors: dict[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        for name, module in self.modules.items():
            put_trained(module, part(f"model:{name}:"))
        for name, optimizer in self.optimizers.items():
            optimizer.load_tensors(part(f"optimizer:{name}:"))

    def _trim_metrics(self, done: int) -> None:
        """Drop the lines of this training past the saved step, and a torn last line."""
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        kept: list[str] = []
        old = self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""
        for line in old.split("\n")[:-1]:
            row = json.loads(line)
            ours = all(row.get(key) == value for key, value in self.tags.items())
            if not ours or row["step"] <= done:
                kept.append(line + "\n")
        if "".join(kept) != old:
            write_text(self.metrics, "".join(kept))


def run_role(
    role: str,
    label: str,
    config: SFTConfig,
    out: Path,
    made_by: str,
    module: nn.Module,
    optimizer: RoleOptimizer,
    step: Callable[[int], Metrics],
) -> None:
    """Train one role for the steps of a warm start, its state and metrics in `out`; errors are those of `Loop.run`."""
    files, tags = (out / f"{role}.{STATE}", out / "metrics.jsonl"), {"role": role}
    loop = Loop(label, config.steps, config.save_every, *files, {role: module}, {role: optimizer}, made_by, tags)
    loop.run(step)


def trained_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that train, by name, detached and contiguous; tied ones once."""
    return {name: p.detach().contiguous() for name, p in trainable_parameters(module).items()}


@torch.no_grad()
def put_trained(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over what `trained_tensors` returned for a module of the same shape."""
    for name, parameter in trainable_parameters(module).items():
        parameter.copy_(tensors[name])


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically.

    Raises:
        TrainingError: the file could not be written; an older file at `path` is untouched.
    """

    def write(temporary: Path) -> None:
        save_file(tensors, temporary, metadata)

    try:
        write_atomic(path, write)
    except OSError as error:
        raise TrainingError(
            f"cannot write {path}: {error}\n"
            "  The usual cause is a full disk.\n"
            "  Free some space and run the same command: it resumes from the last saved step."
        ) from None


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(_signal: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("finishing this step, then saving (Ctrl-C again stops at once)", file=sys.stderr)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _progress(loop: Loop, done: int) -> Iterator[Callable[[int, Metrics], None]]:
    """Progress on stderr with rate and time left: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    start = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(loop.label, total=loop.steps, completed=done, note="")
        shown = start

        def show(now: int, metrics: Metrics) -> None:
            nonlocal shown
            elapsed = time.monotonic() - start
            rate = (now - done) / max(elapsed, 1e-9)
            loss = next((f"{key} {value:.4f}" for key, value in metrics.items() if isinstance(value, float)), "")
            note = f"{rate:.2f} steps/s  {loss}"
            bar.update(task, completed=now, note=note)
            if not console.is_terminal and (time.monotonic() - shown > PLAIN_PROGRESS_SECONDS or now == loop.steps):
                shown = time.monotonic()
                left = (loop.steps - now) / max(rate, 1e-9)
                print(f"{loop.label} {now}/{loop.steps}  {note}  {left:.0f} s left", file=sys.stderr)

        yield show
