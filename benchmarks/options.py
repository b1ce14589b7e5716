"""Every option of the warm start, its adapters, its teacher's limit and the joint training, beside doing without it.

Each arm is real commands (`legible sft` or `legible rl`, then `legible evaluate`) on the target, store, teacher's text
and, for RL, the warm-started pair of one finished run in the built-in world: same seed, equal steps, the same held-out
documents. Beside the command's own figures with their intervals stand the paired differences to the stage's first arm,
documents resampled together. CPU and wall seconds are those of the training commands, the program's start included.

An arm leaves OUT/NAME.json and is skipped when that is there; an unfinished one begins anew, so its seconds are whole.

    python benchmarks/options.py --run runs/tiny --out runs/options --markdown options.md
    python benchmarks/options.py --run runs/tiny --out runs/options --arms sft,lora,dora
    python benchmarks/options.py     # a run of seconds whose models know nothing: shows that every arm runs
"""

import sys
import tempfile
from pathlib import Path

import torch
from support.sweep import Arm, Sweep, arguments, micro_run, parsed, report

BOTH = "--verbalizer-{0} {1} --reconstructor-{0} {1}"
ARMS = (
    Arm("sft", "sft"),
    Arm("adamw", "sft", BOTH.format("muon-lr", 0)),
    Arm("lora", "sft", "--adapter-rank 16"),
    Arm("rslora", "sft", "--adapter-rank 16 --adapter-rslora true"),
    Arm("dora", "sft", "--adapter-rank 16 --adapter-dora true"),
    Arm("add", "sft", "--injection-mode add"),
    Arm("raw_scale", "sft", "--injection-scale null"),
    Arm("scale_1", "sft", "--injection-scale 1"),
    Arm("unlimited", "sft", teach="--limit none"),
    Arm("rl", "rl"),
    Arm("no_rl", "rl", "--steps 0"),
    Arm("log_mse", "rl", "--reward log_mse"),
    Arm("advantage_std", "rl", "--advantage-std true"),
    Arm("sequence_norm", "rl", "--loss-norm sequence"),
    Arm("no_kl", "rl", "--kl 0"),
    Arm("no_length_cost", "rl", "--length-cost 0"),
    Arm("frozen_reconstructor", "rl", "--reconstructor-weight 0"),
    Arm("reuse", "rl", "--epochs 2 --minibatches 2"),
    Arm("reuse_unclipped", "rl", "--epochs 2 --minibatches 2 --clip-low 1e9 --clip-high 1e9"),
    Arm("select_truth", "rl", "--select-by context_precision"),
    Arm("constant_rate", "sft", BOTH.format("schedule", "constant")),
    Arm("cosine_rate", "sft", BOTH.format("schedule", "cosine")),
    Arm("weight_decay", "sft", BOTH.format("weight-decay", 0.1)),
    Arm("gradients_unclipped", "sft", BOTH.format("clip", "1e9")),
    Arm("add_late", "sft", "--injection-mode add --injection-block 2"),
)


def main() -> int:
    names = [arm.name for arm in ARMS]
    args = parsed(arguments(__doc__, names, "runs/options"), names)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        if args.run is None:
            micro_run(args, Path(folder))
        return report(Sweep(args), ARMS, args.markdown)


if __name__ == "__main__":
    sys.exit(main())
