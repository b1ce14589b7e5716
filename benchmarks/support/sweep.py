"""Arms of training on one finished run: real commands, the same held-out rows, paired differences, one file an arm."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legible.config import CaptureConfig, Section, load_config
from legible.contract import git_commit
from legible.evaluate import claims
from legible.evaluate.controls import lookup_misses, mean_direction
from legible.evaluate.reconstruction import explain, misses
from legible.evaluate.sample import Sample
from legible.fileio import write_json
from legible.languages.base import Language
from legible.languages.world import LANGUAGE as WORLD
from legible.models.target import Target
from legible.reading.opening import load_checkpoint
from legible.stats import ratio_difference_interval, ratio_interval
from support.table import conclude, markdown, shown

Record = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One row: options that differ from the run's own; `teach` are options of a teacher's text of its own.

    `stage` names the arm that the differences are paired with; `sft` and `rl` are trained by the command of that name.
    """

    name: str
    stage: str
    options: str = ""
    teach: str = ""


MICRO = "train_documents=60 dev_documents=16 pretrain.steps=12 sft.steps=60 rl.steps=1 rl.prompts=4 rl.max_tokens=24 "
MICRO += "evaluate.documents=8 evaluate.probe_rows=200 evaluate.foresight_rows=1"
SCORES = (
    "fve", "context_fve", "context_precision", "context_claims_per_reading", "context_lift", "recall",
    "parse_failures", "mean_tokens",
)  # fmt: skip
COLUMNS = (
    "arm", "options", "FVE", "context FVE", "difference", "context precision", "difference ", "context claims",
    "recall", "tokens", "CPU s", "wall s", "best step",
)  # fmt: skip
MICRO_SIZES: Record = {"sft_steps": 60, "rl_steps": 1, "documents": 8, "probe_rows": 300}


def arguments(doc: str | None, names: Collection[str], out: str) -> argparse.ArgumentParser:
    """The options that every sweep has; `names` are those of its arms."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="finished `legible train tiny`; absent: one of seconds is made")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the arms")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(names), help=",".join(names))
    parser.add_argument("--sft-steps", type=int, default=300, help="of a warm start")
    parser.add_argument("--rl-steps", type=int, default=20, help="of joint training")
    parser.add_argument("--documents", type=int, default=60, help="held-out stories read, 4 tokens of each")
    parser.add_argument("--probe-rows", type=int, default=4000, help="rows that fit the probes behind recall")
    parser.add_argument("--seed", type=int, default=1, help="of the held-out stories and positions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="also write the rows as a Markdown table")
    return parser


def parsed(parser: argparse.ArgumentParser, names: Collection[str]) -> argparse.Namespace:
    args = parser.parse_args()
    if unknown := sorted(set(args.arms) - set(names)):
        parser.error(f"no arm {', '.join(unknown)}: see --help")
    return args


class Sweep:
    """One finished run, and the folder that the arms fill."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.run, self.out, self.threads = Path(args.run), Path(args.out), args.threads
        self.chosen: list[str] = args.arms
        self.config = load_config(self.run / "config.json")
        if self.config.target is not None or not (self.run / "done" / "sft").exists():
            sys.exit(f"{self.run} is no run of the world with sft done.\n  Make one: legible train tiny --out DIR")
        names = ("sft_steps", "rl_steps", "documents", "probe_rows", "seed", "threads")
        self.settings: Record = {name: getattr(args, name) for name in names}
        self.bench: Sample | None = None

    def carry_out(self, arms: Collection[Arm]) -> list[str]:
        """Every arm that has not run; the names of those where a command failed."""
        return [arm.name for arm in arms if not self.finished(arm)]

    def records(self, arms: Collection[Arm]) -> dict[str, Record]:
        """What the finished ones of these arms left."""
        return {arm.name: self.record(arm) for arm in arms if self.file(arm).exists()}

    def file(self, arm: Arm) -> Path:
        return self.out / f"{arm.name}.json"

    def record(self, arm: Arm) -> Record:
        found: Record = json.loads(self.file(arm).read_text(encoding="utf-8"))
        if found["settings"] != self.settings:
            sys.exit(f"{self.file(arm)} was made with {found['settings']}, now {self.settings}: choose another --out")
        return found

    def finished(self, arm: Arm) -> bool:
        """Carry the arm out unless it was; False where one of its commands failed."""
        if self.file(arm).exists():
            return True
        folder = self.out / arm.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"== {arm.name}", file=sys.stderr, flush=True)
        try:
            wall, cpu, commands = time.monotonic(), sum(os.times()[2:4]), list(self.training(arm, folder))
            trained = [legible(command, self.threads) for command in commands][-1]
            spent = {"wall_s": round(time.monotonic() - wall, 1), "cpu_s": round(sum(os.times()[2:4]) - cpu, 1)}
            measure = self.evaluation(folder)
            report = legible(measure, self.threads)
        except subprocess.CalledProcessError as error:
            print(f"== {arm.name} FAILED with exit code {error.returncode}", file=sys.stderr, flush=True)
            return False
        rows = self.rows(folder / "checkpoint", report)
        made: Record = {"arm": arm.name, "stage": arm.stage, "settings": self.settings, "commit": git_commit()}
        made |= {"commands": [self.shown(command) for command in (*commands, measure)], "training": trained}
        figures = {name: (report | report["claims"])[name] for name in SCORES}
        made["figures"] = {**figures, **spent, "best_step": trained.get("best_step")}
        write_json(self.file(arm), {**made, "rows": rows})
        return True

    def shown(self, command: list[str]) -> str:
        return shlex.join(["legible", *command]).replace(str(self.out), "OUT").replace(str(self.run), "RUN")

    def training(self, arm: Arm, folder: Path) -> Iterator[list[str]]:
        run, steps, layer = self.run, self.settings[f"{arm.stage}_steps"], str(self.config.layer)
        store, text = str(run / "store/train"), run / "teach/train.jsonl"
        equal = f"--steps {steps} --save-every {steps} "
        common = ["--threads", str(self.threads), "--json", "--out"]
        if arm.teach:
            text = folder / "teach.jsonl"
            yield ["teach", store, "--layer", layer, *options(self.config.teach, arm.teach), *common, str(text)]
        if arm.stage == "sft":
            own = options(self.config.sft, equal + arm.options)
            yield ["sft", str(run / "target"), store, str(text), "--layer", layer, *own, *common, str(folder)]
        else:
            own = options(self.config.rl, f"{equal} --evaluate-every {-(-steps // 2)} {arm.options}")
            yield ["rl", str(run / "sft/checkpoint"), store, str(run / "store/dev"), *own, *common, str(folder)]

    def evaluation(self, folder: Path) -> list[str]:
        much = "--foresight-rows 1 --documents {documents} --probe-rows {probe_rows} --seed {seed}"
        own = options(self.config.evaluate, much.format(**self.settings))
        return ["evaluate", str(folder / "checkpoint"), *own, "--threads", str(self.threads), "--json"]

    def rows(self, path: Path, report: Record) -> Record:
        """What the evaluation saw, row by row, for paired differences: errors, and true and decided context claims."""
        found = load_checkpoint(path)
        reconstructor, lookup, language = found.reconstructor, found.lookup, found.language
        assert reconstructor is not None and lookup is not None and language is not None  # noqa: PT018
        if self.bench is None:
            self.bench = self.sample(found.target, found.layer, language)
        sample = self.bench
        texts = explain(found.engine, sample.vectors, max_tokens=self.config.evaluate.max_tokens).texts
        miss = misses(reconstructor, texts, sample.vectors, mean_direction(lookup))
        if abs(1 - miss.mean() / report["variance"] - report["fve"]["value"]) > 1e-4:
            sys.exit(f"{path}: the rows read here are not those of legible evaluate, so nothing can be paired")
        judged = claims.judge_texts(texts, sample, language)
        true, decided = claims.tally(judged, len(sample), context=True)
        columns = {"miss": miss, "lookup": lookup_misses(lookup, sample), "true": true, "decided": decided}
        return {**{name: column.tolist() for name, column in columns.items()}, "documents": sample.doc_ids}

    def sample(self, target: Target, layer: int, language: Language) -> Sample:
        seed, read = self.settings["seed"], CaptureConfig.from_positions(self.config.capture.positions_text())
        read = read.model_copy(update={"positions_per_doc": self.config.evaluate.positions_per_doc, "seed": seed})
        documents = WORLD.documents("test", seed, self.settings["documents"])
        return Sample.of_documents(target, documents, read, layer, language)


def options(section: Section, changes: str) -> list[str]:
    """A verb's options for a section: where it differs from the verb's defaults, and changes to it."""
    given = dict(flat(section.model_dump(mode="json"), type(section)().model_dump(mode="json"), "-"))
    words = shlex.split(changes)
    given |= dict(zip(words[::2], words[1::2], strict=True))
    return [word for pair in given.items() for word in pair]


def flat(tree: Record, default: Record, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        flag, usual = f"{prefix}-{key.replace('_', '-')}", default.get(key)
        if isinstance(value, dict):
            yield from flat(value, usual or {}, flag)
        elif value != usual:
            yield flag, value if isinstance(value, str) else json.dumps(value)


def legible(command: list[str], threads: int) -> Record:
    """Run the program as a user does; what it prints under --json."""
    program, env = [sys.executable, "-m", "legible.cli.main"], os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*program, *command], check=True, stdout=subprocess.PIPE, text=True, env=env)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def micro_run(args: argparse.Namespace, folder: Path, **sizes: int) -> None:
    """Point the arguments at a run of seconds, made here, and at sizes to match."""
    settings = [word for item in (*MICRO.split(), f"threads={args.threads}") for word in ("--set", item)]
    legible(["train", "tiny", *settings, "--json", "--out", str(folder / "run")], args.threads)
    vars(args).update({**MICRO_SIZES, **sizes, "run": folder / "run", "out": folder / "arms"})


def differences(name: str, records: dict[str, Record]) -> Record:
    """Paired differences to the stage's first arm; empty for that arm itself and without it."""
    own = records[name]
    if name == own["stage"] or own["stage"] not in records:
        return {}
    arm, base = own["rows"], records[own["stage"]]["rows"]
    gained = np.array(base["miss"]) - np.array(arm["miss"])
    fve = ratio_interval(gained, arm["lookup"], arm["documents"])
    ours, theirs = ((part["true"], part["decided"]) for part in (arm, base))
    precision = ratio_difference_interval(ours, theirs, arm["documents"])
    return {"context_fve_difference": fve.as_dict(), "context_precision_difference": precision.as_dict()}


def cells(arm: Arm, records: dict[str, Record]) -> list[str]:
    figures, paired = records[arm.name]["figures"], differences(arm.name, records)
    return [
        arm.name,
        f"`{arm.options or 'teach ' + arm.teach}`" if arm.options or arm.teach else "the run's own",
        shown(figures["fve"]),
        shown(figures["context_fve"]),
        shown(paired.get("context_fve_difference"), sign="+"),
        shown(figures["context_precision"]),
        shown(paired.get("context_precision_difference"), sign="+"),
        f"{figures['context_claims_per_reading']['value']:.2f}",
        shown(figures["recall"]),
        f"{figures['mean_tokens']:.1f}",
        f"{figures['cpu_s']:.0f}",
        f"{figures['wall_s']:.0f}",
        "" if figures["best_step"] is None else str(figures["best_step"]),
    ]


def report(sweep: Sweep, arms: Collection[Arm], path: Path | None, *extra: str) -> int:
    """Carry the chosen arms out and print all rows that are there; the exit code.

    `extra` names more of the training's own figures for the JSON line.
    """
    failed = sweep.carry_out([arm for arm in arms if arm.name in sweep.chosen])
    records = sweep.records(arms)
    table = markdown(COLUMNS, [cells(arm, records) for arm in arms if arm.name in records])
    figures = {
        name: {**record["figures"], **differences(name, records), **{key: record["training"].get(key) for key in extra}}
        for name, record in records.items()
    }
    conclude(table, {"arms": figures, "failed": failed, "settings": sweep.settings}, path)
    return 1 if failed else 0
