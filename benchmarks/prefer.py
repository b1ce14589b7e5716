"""Offline preference training beside doing without it, and beside joint training: one row a loss or ranking.

All arms share one finished run's target, store and teacher's text, one warm start of `--sft-steps`, and one set of
sampled explanations; only what ranks them and the loss differ. `warm` is the warm start itself: its seconds are those
of sampling and reading back the shared explanations, which every arm but `rl` needs once. Columns and paired
differences (to `warm`) are those of `benchmarks/options.py`; finished arms in OUT are skipped.

    python benchmarks/prefer.py --run runs/tiny --out runs/prefer --markdown prefer.md
    python benchmarks/prefer.py --run runs/tiny --out runs/prefer --arms warm,dpo,simpo
    python benchmarks/prefer.py     # a run of seconds whose models know nothing: shows that every arm runs
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from support.sweep import Arm, Sweep, arguments, legible, micro_run, options, parsed, report

ARMS = (
    Arm("warm", "warm"),
    Arm("dpo", "warm", "--loss dpo"),
    Arm("ipo", "warm", "--loss ipo"),
    Arm("kto", "warm", "--loss kto"),
    Arm("orpo", "warm", "--loss orpo"),
    Arm("simpo", "warm", "--loss simpo"),
    Arm("alphadpo", "warm", "--loss alphadpo"),
    Arm("dpo_truth", "warm", "--loss dpo --rank-by truth"),
    Arm("dpo_both", "warm", "--loss dpo --rank-by both"),
    Arm("dpo_unbalanced", "warm", "--loss dpo --length-window 1 --length-balance 1"),
    Arm("dpo_select_truth", "warm", "--loss dpo --rank-by both --select-by context_precision"),
    Arm("rl", "warm"),
)


def main() -> int:
    names = [arm.name for arm in ARMS]
    parser = arguments(__doc__, names, "runs/prefer")
    parser.add_argument("--steps", type=int, default=100, help="of preference training")
    parser.add_argument("--rows", type=int, default=1500, help="activations explained for the pairs")
    parser.add_argument("--samples", type=int, default=8, help="explanations sampled per activation")
    args = parsed(parser, names)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        if args.run is None:
            micro_run(args, Path(folder), steps=2, rows=16, samples=4)
        sweep = PreferSweep(args)
        sweep.start()
        return report(sweep, ARMS, args.markdown, "pairs")


class PreferSweep(Sweep):
    """As the sweep of options, with one warm start and one set of explanations for all arms."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.settings |= {name: getattr(args, name) for name in ("steps", "rows", "samples")}
        self.warm = self.out / "start"

    def start(self) -> None:
        """The shared warm start; it goes on where it stopped."""
        if (self.warm / "checkpoint").exists():
            return
        print("== start", file=sys.stderr, flush=True)
        steps = self.settings["sft_steps"]
        own = options(self.config.sft, f"--steps {steps}")
        where = [str(self.run / "target"), str(self.run / "store/train"), str(self.run / "teach/train.jsonl")]
        common = ["--layer", str(self.config.layer), "--threads", str(self.threads), "--json", "--out", str(self.warm)]
        legible(["sft", *where, *own, *common], self.threads)

    def training(self, arm: Arm, folder: Path) -> Iterator[list[str]]:
        settings, store, dev = self.settings, str(self.run / "store/train"), str(self.run / "store/dev")
        common = ["--threads", str(self.threads), "--json", "--out", str(folder)]
        checkpoint = str(self.warm / "checkpoint")
        if arm.name == "rl":
            steps = settings["rl_steps"]
            own = options(self.config.rl, f"--steps {steps} --save-every {steps} --evaluate-every {-(-steps // 2)}")
            yield ["rl", checkpoint, store, dev, *own, *common]
            return
        steps = 0 if arm.name == "warm" else settings["steps"]
        much = ["--rows", str(settings["rows"]), "--samples", str(settings["samples"]), "--steps", str(steps)]
        where = ["--store", store, "--dev", dev, "--pairs", str(self.out / "pairs")]
        yield ["prefer", checkpoint, *where, *much, *arm.options.split(), *common]


if __name__ == "__main__":
    sys.exit(main())
