"""What buys truth: every option of teacher, warm start and joint training that aims at it, each alone and together.

Each arm is `legible rl` and `legible evaluate` on one finished run in the built-in world. Arms whose teacher and warm
start have the same options start from one warm start of `--sft-steps`, trained once and not counted in their seconds;
OUT/warm/*/start.json holds its commands and seconds.
The first arm, `reference`, is what others do: a teacher that may say everything, and reconstruction alone as reward.
Beside the columns of `benchmarks/options.py` stand the wrong context claims of a reading (false or open) and the true
ones, with their differences to `reference` on the same rows, documents resampled together.

One training seed screens, more confirm: `--train-seeds 0,1,2` repeats the chosen arms (target, store and the held-out
rows stay), and a second table shows the means. An arm leaves OUT/NAME.json (OUT/NAME-sSEED.json) and is skipped then.

    python benchmarks/truth.py --run runs/tiny --out runs/truth --markdown truth.md
    python benchmarks/truth.py --run runs/tiny --out runs/truth --arms reference,plain,recipe --train-seeds 0,1,2
    python benchmarks/truth.py     # a run of seconds whose models know nothing: shows that every arm runs
"""

import argparse
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
from typing import Any

import numpy as np
import torch
from options import COLUMNS, Arm, Sweep, cells, differences, legible, micro_run, options

from legible.fileio import finite, write_json, write_text
from legible.recipes.record import machine
from legible.stats import ratio_difference_interval, ratio_interval

Record = dict[str, Any]
REFERENCE = "reference"
TRUTH = "--truth-reward 0.03 --truth-credit 0.03"
MORE = ("wrong context claims", "wrong, difference", "true context claims", "true, difference")


@dataclass(frozen=True)
class TruthArm(Arm):
    """An arm of joint training; `sft` are options of its warm start, `seed` that of both trainings."""

    sft: str = ""
    seed: int = 0

    @property
    def start(self) -> str:
        """The folder of its warm start: arms of equal teacher, warm start and seed share it."""
        return hashlib.sha256(f"{self.teach}|{self.sft}|{self.seed}".encode()).hexdigest()[:8]


def arm(name: str, rl: str = "", *, sft: str = "", teach: str = "") -> TruthArm:
    return TruthArm(name, REFERENCE, rl, teach, sft)  # type: ignore[arg-type]  # the stage names the arm to compare with


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
    arm("contrast", "--contrast 0.5"),
    arm("paraphrase", REWORDED),
    arm("paraphrase_sft", sft=REWORDED),
    arm("paraphrase_both", REWORDED, sft=REWORDED),
    arm("whitened", "--space whitened"),
    arm("residual", "--space residual"),
    arm("downstream", "--space downstream --parse-penalty 4"),
    arm("unlimited_truth", TRUTH, teach=UNLIMITED),
    arm("unlimited_claim_credit", "--claim-credit 0.3", teach=UNLIMITED),
    arm("recipe", f"{TRUTH} --claim-credit 0.3 {REWORDED}", sft=REWORDED),
)


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        if args.run is None:
            args.run, args.out = micro_run(Path(folder), args.threads), Path(folder) / "truth"
            args.sft_steps, args.rl_steps, args.documents, args.probe_rows = 60, 1, 8, 300
        sweep = TruthSweep(args)
        chosen = [one for one in ARMS if args.arms is None or one.name in args.arms]
        every = {one.name: [seeded(one, seed) for seed in args.train_seeds] for one in chosen}
        failed = [one.name for arms in every.values() for one in arms if not sweep.finished(one)]
        records = {one.name: sweep.record(one) for arms in every.values() for one in arms if sweep.file(one).exists()}
    table = tables(every, records)
    print(table)
    if args.markdown is not None:
        write_text(args.markdown, table)
    figures = {name: {**record["figures"], **compared(name, records)} for name, record in records.items()}
    print(json.dumps(finite({"arms": figures, "failed": failed, "settings": sweep.settings, "machine": machine()})))
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--run", type=Path, help="finished `legible train tiny`; absent: one of seconds is made")
    parser.add_argument("--out", type=Path, default=Path("runs/truth"), help="folder of the arms")
    parser.add_argument("--arms", type=lambda text: text.split(","), help=",".join(one.name for one in ARMS))
    parser.add_argument("--train-seeds", type=numbers, default=[0], help="seeds of warm start and joint training")
    parser.add_argument("--sft-steps", type=int, default=300, help="of the shared warm starts")
    parser.add_argument("--rl-steps", type=int, default=20)
    parser.add_argument("--documents", type=int, default=60, help="held-out stories read, 4 tokens of each")
    parser.add_argument("--probe-rows", type=int, default=4000, help="rows that fit the probes behind recall")
    parser.add_argument("--seed", type=int, default=1, help="of the held-out stories and positions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="also write the rows as a Markdown table")
    args = parser.parse_args()
    if unknown := sorted(set(args.arms or ()) - {one.name for one in ARMS}):
        parser.error(f"no arm {', '.join(unknown)}: see --help")
    return args


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

    def warm(self, one: TruthArm) -> Path:
        return self.out / "warm" / one.start

    def warming(self, one: TruthArm) -> Iterator[list[str]]:
        """The commands of an arm's warm start."""
        run, layer, store = self.run, str(self.config.layer), str(self.run / "store/train")
        common = ["--layer", layer, "--threads", str(self.threads), "--json", "--out"]
        text = run / "teach/train.jsonl"
        if one.teach:
            text = self.warm(one) / "teach.jsonl"
            yield ["teach", store, *options(self.config.teach, one.teach.replace("RUN", str(run))), *common, str(text)]
        own = options(self.config.sft, f"--steps {self.settings['sft_steps']} --seed {one.seed} {one.sft}")
        yield ["sft", str(run / "target"), store, str(text), *own, *common, str(self.warm(one))]

    def training(self, one: TruthArm, folder: Path) -> Iterator[list[str]]:  # type: ignore[override]
        steps = self.settings["rl_steps"]
        equal = f"--steps {steps} --save-every {steps} --evaluate-every {-(-steps // 2)} --seed {one.seed}"
        own = options(self.config.rl, f"{equal} {one.options}")
        stores = [str(self.run / "store/train"), str(self.run / "store/dev")]
        common = ["--threads", str(self.threads), "--json", "--out", str(folder)]
        yield ["rl", str(self.warm(one) / "checkpoint"), *stores, *own, *common]


def compared(name: str, records: Mapping[str, Record]) -> Record:
    """Wrong and true context claims a reading, with paired differences to the reference where it is there."""
    found: Record = dict(differences(name, dict(records)))
    arm, base = records[name]["rows"], records.get(records[name]["stage"], {}).get("rows")
    for claims in ("wrong", "true"):
        ours = counts(arm, claims)
        found[f"{claims}_context_claims"] = ratio_interval(ours[0], ours[1], arm["documents"]).as_dict()
        if base is not None and name != records[name]["stage"]:
            difference = ratio_difference_interval(ours, counts(base, claims), arm["documents"])
            found[f"{claims}_context_claims_difference"] = difference.as_dict()
    return found


def counts(rows: Record, claims: str) -> tuple[Any, Any]:
    """Context claims of every row, and a one for every row."""
    true, decided = np.array(rows["true"]), np.array(rows["decided"])
    return (true if claims == "true" else decided - true), np.ones(len(true))


def tables(every: Mapping[str, Sequence[TruthArm]], records: dict[str, Record]) -> str:
    """A row for every arm and seed; with several seeds, the means over them below."""
    done = [one for arms in every.values() for one in arms if one.name in records]
    lines = [[*COLUMNS, *MORE], ["---"] * (len(COLUMNS) + len(MORE))]
    lines += [[*described(one, cells(one, records)), *claim_cells(compared(one.name, records))] for one in done]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if all(len(arms) == 1 for arms in every.values()):
        return table
    names = ("fve", "context_fve", "context_precision", "recall")
    head = ["arm", "seeds", *names, "wrong context claims", "true context claims"]
    lines = [head, ["---"] * len(head)]
    for name, arms in every.items():
        mine = [records[one.name] for one in arms if one.name in records]
        more = [compared(one.name, records) for one in arms if one.name in records]
        if mine:
            values = [[record["figures"][key]["value"] for record in mine] for key in names]
            values += [[one[f"{kind}_context_claims"]["value"] for one in more] for kind in ("wrong", "true")]
            lines.append([name, str(len(mine)), *map(mean, values)])
    return table + "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def mean(values: Sequence[float | None]) -> str:
    """Over the seeds; empty where one has none, such as the precision of no claim."""
    return "" if None in values else f"{np.mean(values):.3f}"


def described(one: TruthArm, row: list[str]) -> list[str]:
    """The row with all of the arm's options in its second cell."""
    parts = [f"{verb} {text}" for verb, text in (("teach", one.teach), ("sft", one.sft), ("rl", one.options)) if text]
    return [row[0], f"`{'; '.join(parts)}`" if parts else "the run's own", *row[2:]]


def claim_cells(found: Record) -> list[str]:
    cells = []
    for claims in ("wrong", "true"):
        cells.append("{value:.2f} [{low:.2f}, {high:.2f}]".format(**found[f"{claims}_context_claims"]))
        difference = found.get(f"{claims}_context_claims_difference")
        cells.append("" if difference is None else "{value:+.2f} [{low:+.2f}, {high:+.2f}]".format(**difference))
    return cells


if __name__ == "__main__":
    sys.exit(main())
