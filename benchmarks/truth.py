"""What buys truth: every option of teacher, warm start and joint training that aims at it, each alone and together.

Each arm is `legible rl` and `legible evaluate` on one finished run in the built-in world. Arms whose teacher and warm
start have the same options start from one warm start of `--sft-steps`, trained once (the run's own where nothing
differs); OUT/warm/*/start.json holds its commands and seconds.
The first arm, `reference`, is what others do: a teacher that may say everything, and reconstruction alone as reward.
Wrong context claims are those of a reading that are false or open; `change` is their share more or fewer than those of
`reference` on the same rows. Differences are paired, documents resampled together. CPU seconds: warm start + the rest.

One training seed screens, more confirm: `--train-seeds 0,1,2` repeats the chosen arms (target, store and the held-out
rows stay), and a second table shows all seeds together. An arm leaves OUT/NAME.json (OUT/NAME-sSEED.json) and is
skipped then.

    python benchmarks/truth.py --run runs/tiny --out runs/truth --markdown truth.md
    python benchmarks/truth.py --run runs/tiny --out runs/truth --arms reference,plain,together --train-seeds 0,1,2
    python benchmarks/truth.py     # a run of seconds whose models know nothing: shows that every arm runs
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from support.sweep import Arm, Record, Sweep, arguments, legible, micro_run, options, parsed
from support.table import conclude, markdown, shown

from legible.evaluate.reconstruction import context_fve_of, fve_gain, fve_of
from legible.fileio import write_json
from legible.stats import Interval, ratio_difference_interval, ratio_interval

REFERENCE = "reference"
TRUTH = "--truth-reward 0.03 --truth-credit 0.03"
DOUBLE = f"{TRUTH} --false-price 2 --open-price 2"
COLUMNS = (
    "FVE", "difference", "context FVE", "context precision", "wrong context claims", "change", "true context claims",
    "difference ", "recall", "tokens",
)  # fmt: skip
ROWS = ("miss", "lookup", "true", "decided")


@dataclass(frozen=True)
class TruthArm(Arm):
    """An arm of joint training.

    `sft` are options of its warm start, `trade` is the share of the joint training's steps that is spent on a longer
    warm start instead, `seed` that of both trainings.
    """

    sft: str = ""
    trade: float = 0.0
    seed: int = 0

    @property
    def start(self) -> str:
        """The folder of its warm start: arms of equal teacher, warm start and seed share it."""
        return hashlib.sha256(f"{self.teach}|{self.sft}|{self.seed}{self.trade or ''}".encode()).hexdigest()[:8]

    def described(self) -> str:
        """All of its options, verb by verb."""
        verbs = ("teach", self.teach), ("sft", self.sft), ("rl", self.options)
        parts = [f"{verb} {text}" for verb, text in verbs if text]
        parts += [f"{self.trade:.0%} of rl's time to sft"] if self.trade else []
        return f"`{'; '.join(parts)}`" if parts else "the run's own"


def arm(name: str, rl: str = "", *, sft: str = "", teach: str = "", trade: float = 0.0) -> TruthArm:
    return TruthArm(name, REFERENCE, rl, teach, sft, trade)


SFT_STEPS_A_RL_STEP = 8  # of equal CPU time: one step of joint training and so many of both roles' warm starts
UNLIMITED = "--limit none"
REWORDED = "--paraphrase 0.5"
ARMS = (
    arm(REFERENCE, teach=UNLIMITED),
    arm("plain"),
    arm("leverage_teacher", teach="--limit leverage --limit-by RUN/sft/checkpoint"),
    arm("claim_credit", "--claim-credit 0.3"),
    arm("claim_credit_high", "--claim-credit 1"),
    arm("truth_reward", "--truth-reward 0.03"),
    arm("truth_credit", "--truth-credit 0.03"),
    arm("truth", TRUTH),
    arm("truth_dear", f"{TRUTH} --false-price 3 --open-price 3"),
    arm("truth_double", DOUBLE),
    arm("long_start", trade=2 / 3),
    arm("long_truth", DOUBLE, trade=2 / 3),
    arm("start_alone", trade=1),
    arm("contrast", "--contrast 0.5"),
    arm("paraphrase", REWORDED),
    arm("paraphrase_sft", sft=REWORDED),
    arm("paraphrase_both", REWORDED, sft=REWORDED),
    arm("whitened", "--space whitened"),
    arm("residual", "--space residual"),
    arm("downstream", "--space downstream --parse-penalty 4"),
    arm("unlimited_truth", TRUTH, teach=UNLIMITED),
    arm("unlimited_claim_credit", "--claim-credit 0.3", teach=UNLIMITED),
    arm("together", f"{DOUBLE} --contrast 0.5"),
    arm("together_credit", f"{DOUBLE} --contrast 0.5 --claim-credit 0.3"),
)


def main() -> int:
    names = [one.name for one in ARMS]
    parser = arguments(__doc__, names, "runs/truth")
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--train-seeds", type=numbers, default=[0], help="seeds of warm start and joint training")
    args = parsed(parser, names)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        if args.run is None:
            micro_run(args, Path(folder))
        sweep = TruthSweep(args)
        every = {one.name: [seeded(one, seed) for seed in args.train_seeds] for one in ARMS}
        failed = sweep.carry_out([one for name in args.arms for one in every[name]])
        records = sweep.records([one for arms in every.values() for one in arms])
        found = {"arms": summary(every, records), "failed": failed, "settings": sweep.settings}
        conclude(tables(sweep, every, records), found, args.markdown)
    return 1 if failed else 0


def summary(every: Mapping[str, Sequence[TruthArm]], records: Mapping[str, Record]) -> Record:
    """What the tables show, as JSON; `NAME, all seeds` where an arm has several."""
    groups = {one.name: [one] for arms in every.values() for one in arms if one.name in records}
    several = {name: [one for one in arms if one.name in records] for name, arms in every.items() if len(arms) > 1}
    groups |= {f"{name}, all seeds": arms for name, arms in several.items() if arms}
    return {
        name: {key: value.as_dict() for key, value in compared(arms, records).items()} for name, arms in groups.items()
    }


def seeded(one: TruthArm, seed: int) -> TruthArm:
    """The arm under another training seed, compared with the reference of that seed."""
    if seed == 0:
        return one
    return replace(one, name=f"{one.name}-s{seed}", stage=f"{REFERENCE}-s{seed}", seed=seed)


class TruthSweep(Sweep):
    """As the sweep of options; arms start from shared warm starts."""

    def finished(self, one: TruthArm) -> bool:  # type: ignore[override]
        """Carry the arm out unless it was, its warm start first; False where one of its commands failed."""
        if not self.file(one).exists() and not (self.warm(one) / "checkpoint").exists():
            wall, cpu, commands = time.monotonic(), sum(os.times()[2:4]), list(self.warming(one))
            try:
                for command in commands:
                    print(f"== warm start {one.start}: {command[0]}", file=sys.stderr, flush=True)
                    legible(command, self.threads)
                spent = {"wall_s": time.monotonic() - wall, "cpu_s": sum(os.times()[2:4]) - cpu}
                write_json(self.warm(one) / "start.json", {"commands": list(map(self.shown, commands)), **spent})
            except subprocess.CalledProcessError as error:
                print(f"== {one.name} FAILED with exit code {error.returncode}", file=sys.stderr, flush=True)
                return False
        return super().finished(one)

    def spent(self, one: TruthArm, records: Mapping[str, Record]) -> list[str]:
        """CPU seconds of warm start and joint training, and the step kept."""
        figures = records[one.name]["figures"]
        if self.own_start(one):
            start = json.loads((self.run / "run.json").read_text(encoding="utf-8"))["stages"]["sft"]
        else:
            noted = self.warm(one) / "start.json"
            start = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {"cpu_s": float("nan")}
        return [f"{start['cpu_s']:.0f} + {figures['cpu_s']:.0f}", str(figures["best_step"])]

    def traded(self, one: TruthArm) -> int:
        """Steps of joint training that the warm start gets instead."""
        return round(one.trade * int(self.settings["rl_steps"]))

    def own_start(self, one: TruthArm) -> bool:
        """Whether the arm's warm start is the run's own, so that it need not be trained again."""
        own = self.config.sft
        same = (one.teach, one.sft, one.trade) == ("", "", 0.0)
        return same and (one.seed, self.settings["sft_steps"]) == (own.seed, own.steps)

    def warm(self, one: TruthArm) -> Path:
        if self.own_start(one):
            return self.run / "sft"
        return self.out / "warm" / one.start

    def warming(self, one: TruthArm) -> Iterator[list[str]]:
        """The commands of an arm's warm start."""
        run, layer, store = self.run, str(self.config.layer), str(self.run / "store/train")
        common = ["--layer", layer, "--threads", str(self.threads), "--json", "--out"]
        text = run / "teach/train.jsonl"
        if one.teach:
            text = self.warm(one) / "teach.jsonl"
            yield ["teach", store, *options(self.config.teach, one.teach.replace("RUN", str(run))), *common, str(text)]
        steps = self.settings["sft_steps"] + SFT_STEPS_A_RL_STEP * self.traded(one)
        own = options(self.config.sft, f"--steps {steps} --seed {one.seed} {one.sft}")
        yield ["sft", str(run / "target"), store, str(text), *own, *common, str(self.warm(one))]

    def training(self, one: TruthArm, folder: Path) -> Iterator[list[str]]:  # type: ignore[override]
        steps = self.settings["rl_steps"] - self.traded(one)
        every = max(1, -(-steps // 2))
        equal = f"--steps {steps} --save-every {max(1, steps)} --evaluate-every {every} --seed {one.seed}"
        own = options(self.config.rl, f"{equal} {one.options}")
        stores = [str(self.run / "store/train"), str(self.run / "store/dev")]
        common = ["--threads", str(self.threads), "--json", "--out", str(folder)]
        yield ["rl", str(self.warm(one) / "checkpoint"), *stores, *own, *common]


def joined(records: Sequence[Record]) -> Record:
    """The rows of one or several trainings on the same documents, one below the other."""
    found = {name: np.concatenate([record["rows"][name] for record in records]) for name in ROWS}
    found["wrong"] = found["decided"] - found["true"]
    return {**found, "documents": [doc for record in records for doc in record["rows"]["documents"]]}


def figures(own: Sequence[Record], base: Sequence[Record]) -> dict[str, Interval]:
    """Every score, and the paired differences to `base` where it is there; documents resampled with all their seeds."""
    ours, ones = joined(own), np.ones(sum(len(record["rows"]["true"]) for record in own))
    docs, miss, lookup = ours["documents"], ours["miss"], ours["lookup"]
    first = own[0]
    variance = float(np.mean(first["rows"]["miss"]) / (1 - first["figures"]["fve"]["value"]))
    precision = ours["true"], ours["decided"]
    found = {
        "fve": fve_of(miss, variance, docs),
        "context_fve": context_fve_of(miss, lookup, docs),
        "context_precision": ratio_interval(*precision, docs),
        "wrong_context_claims": ratio_interval(ours["wrong"], ones, docs),
        "true_context_claims": ratio_interval(ours["true"], ones, docs),
    }
    if not base:
        return found
    other = joined(base)
    return found | {
        "fve_difference": fve_gain(miss, other["miss"], variance, docs),
        "context_fve_difference": ratio_interval(other["miss"] - miss, lookup, docs),
        "context_precision_difference": ratio_difference_interval(precision, (other["true"], other["decided"]), docs),
        "wrong_change": ratio_interval(ours["wrong"], other["wrong"], docs, offset=-1.0),
        "true_context_claims_difference": ratio_interval(ours["true"] - other["true"], ones, docs),
    }


def compared(arms: Sequence[TruthArm], records: Mapping[str, Record]) -> dict[str, Interval]:
    """One arm, or one arm of several seeds, beside the reference of the same seeds."""
    paired = all(one.name != one.stage and one.stage in records for one in arms)
    return figures([records[one.name] for one in arms], [records[one.stage] for one in arms] if paired else [])


def tables(sweep: TruthSweep, every: Mapping[str, Sequence[TruthArm]], records: dict[str, Record]) -> str:
    """A row for every arm and seed; with several seeds, a row for every arm over all of its seeds below."""
    done = {name: [one for one in arms if one.name in records] for name, arms in every.items()}
    single = [one for arms in done.values() for one in arms]
    rows = [[one.name, one.described(), *cells([one], records), *sweep.spent(one, records)] for one in single]
    table = markdown(["arm", "options", *COLUMNS, "CPU s", "best step"], rows)
    if all(len(arms) == 1 for arms in every.values()):
        return table
    pooled = [[name, str(len(arms)), *cells(arms, records)] for name, arms in done.items() if arms]
    return table + "\n" + markdown(["arm", "seeds", *COLUMNS], pooled)


def cells(arms: Sequence[TruthArm], records: Mapping[str, Record]) -> list[str]:
    """The cells of COLUMNS."""
    found = {name: value.as_dict() for name, value in compared(arms, records).items()}
    own = [records[one.name]["figures"] for one in arms]
    return [
        shown(found["fve"]),
        shown(found.get("fve_difference"), "+"),
        shown(found["context_fve"]),
        shown(found["context_precision"]),
        shown(found["wrong_context_claims"], digits=2),
        shown(found.get("wrong_change"), "+", digits=2),
        shown(found["true_context_claims"], digits=2),
        shown(found.get("true_context_claims_difference"), "+", digits=2),
        f"{np.mean([one['recall']['value'] for one in own]):.3f}",
        f"{np.mean([one['mean_tokens'] for one in own]):.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
