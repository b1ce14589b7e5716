"""A whole run, stage by stage, into one directory; run again, it goes on where it stopped.

    config.json  run.json  corpus/  target/  target_report.json  store/  teach/  sft/  rl/  checkpoint/
    report.json  report.html  done/

A stage that is whole has a file in done/. Everything but run.json is a function of config.json (and the thread
count): two runs of one configuration on one machine are equal bit for bit.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.config import RunConfig, load_config, save_config
from legible.errors import ConfigError, UsageError
from legible.fileio import write_json
from legible.recipes import stages
from legible.recipes.record import RunRecord


@dataclass(frozen=True)
class Run:
    """A configuration and the directory it fills: where everything lies."""

    config: RunConfig
    out: Path

    @property
    def target_name(self) -> str:
        """Directory or hub name of the target that is read."""
        return self.config.target or str(self.out / "target")

    @property
    def language(self) -> str | None:
        """Who knows the facts of the texts: the world of its stories, `facts` of any English text it was taught in."""
        if self.config.corpus is None:
            return "world"
        return "facts" if self.config.teach.teacher == "facts" else None

    def store(self, split: str) -> Path:
        """The activation store of a split."""
        return self.out / "store" / split

    def teach(self, split: str) -> Path:
        """The teacher's file of a split."""
        return self.out / "teach" / f"{split}.jsonl"


Stage = tuple[str, Callable[[Run], None]]


def run(config: RunConfig, out: Path) -> dict[str, Any]:
    """Carry out every stage that is not finished yet.

    Args:
        config: the whole run; see `legible.recipes`.
        out: its directory; made if it is not there.

    Returns:
        What OUT/report.json holds.

    Raises:
        ConfigError: `out` holds a run of another configuration.
        UsageError: a target, corpus or layer that does not fit.
        LegibleError: a stage failed; the message says what to do, and the same command goes on from there.
    """
    out = Path(out)
    _claim(config, out)
    stages.use_threads(config.threads)
    record = RunRecord(out / "run.json")
    this = Run(config, out)
    for name, work in STAGES:
        done = out / "done" / name
        if done.exists():
            _say(f"[{name}] done before")
            continue
        _say(f"[{name}]")
        with record.stage(name):
            work(this)
        write_json(done, {"stage": name})
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def _claim(config: RunConfig, out: Path) -> None:
    path = out / "config.json"
    if not path.exists():
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty and not a run: it has no config.json.\n  Choose another --out.")
        if config.corpus is not None and not Path(config.corpus).is_file():
            raise UsageError(f"no corpus at {config.corpus}.\n  Check the path given with --corpus.")
        save_config(config, path)
        return
    before = load_config(path)
    if before != config:
        changed = _differences(before.model_dump(), config.model_dump())
        raise ConfigError(
            f"{out} holds a run of another configuration; it differs in {', '.join(changed)}.\n"
            "  Runs are resumed only under their own configuration. Choose another --out, or go on with the old one:\n"
            f"  legible train {path} --out {out}"
        )


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in new:
        before, after = old.get(key), new[key]
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} ({before} there, {after} now)")
    return found


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
