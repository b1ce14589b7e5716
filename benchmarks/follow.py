"""Does a claim about what comes follow the model? Finetunes of one target, read by a pair trained on the target alone.

Trains LoRA finetunes that behave otherwise on the same prompts (answers turned round, always a list, refuses food,
false capitals), each kept under OUT and trained once; reads target and finetunes at the ends of held-out prompts; and
where two of them do different things there, by at least 6 of 8 sampled continuations, asks of every reader whether it
says which does what. `right` and `ranked` are 0.5 for any reader of the text, `followed` is 0 for it. Everything goes
to OUT/follow.json; the table shows the kinds that each conduct aims at, and those of at least `--least` differences.

    python benchmarks/follow.py --checkpoint runs/laptop --target smollm2 --out runs/follow
    python benchmarks/follow.py --checkpoint runs/laptop --out runs/follow --conducts lists --steps 2 --prompts 8
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.table import conclude, markdown, shown

from legible.errors import LegibleError
from legible.fileio import write_json
from legible.planted.conducts import CONDUCTS
from legible.planted.following import BASE, FIGURES
from legible.planted.tuned import FollowConfig, follow, train_all
from legible.planted.tuning import TuneConfig
from legible.reading.opening import load_checkpoint
from legible.recipes.inputs import use_threads


def main() -> int:
    usual = FollowConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a pair trained on the target alone; absent: nothing is done")
    parser.add_argument("--target", help="where the target lies, if not where the checkpoint says")
    parser.add_argument("--out", type=Path, default=Path("runs/follow"), help="where finetunes and figures go")
    names = lambda text: tuple(text.split(","))
    parser.add_argument("--conducts", type=names, default=usual.conducts, help=f"some of {','.join(CONDUCTS)}")
    parser.add_argument("--prompts", type=int, default=usual.prompts, help="held-out prompts that are read")
    parser.add_argument("--samples", type=int, default=usual.samples, help="sampled readings beside the greedy one")
    parser.add_argument("--probe-prompts", type=int, default=usual.probe_prompts, help="prompts that fit the probes")
    parser.add_argument("--steps", type=int, default=usual.tune.steps, help="optimizer steps of every finetune")
    parser.add_argument("--examples", type=int, default=usual.tune.examples, help="transcripts of every finetune")
    parser.add_argument("--lr", type=float, default=usual.tune.optimizer.lr, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--least", type=int, default=10, help="differences from which a kind has a line of its own")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    args = parser.parse_args()
    if args.checkpoint is None:  # as `make bench` calls it: no chat model is at hand there
        print("nothing is read without --checkpoint", file=sys.stderr)
        return 0
    use_threads(args.threads)
    optimizer = usual.tune.optimizer.model_copy(update={"lr": args.lr})
    tune = TuneConfig(steps=args.steps, examples=args.examples, optimizer=optimizer, seed=args.seed)
    config = FollowConfig(
        conducts=args.conducts, prompts=args.prompts, samples=args.samples, probe_prompts=args.probe_prompts,
        tune=tune, seed=args.seed,
    )  # fmt: skip
    try:
        spent: dict[str, float] = {"start": time.process_time()}
        checkpoint = load_checkpoint(args.checkpoint, target=args.target)
        folders = train_all(checkpoint.target, config, args.out)
        spent["trained"] = time.process_time()
        found = follow(checkpoint, args.checkpoint, folders, config)
    except LegibleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found["cpu_s"] = {
        "training": spent["trained"] - spent["start"], "measuring": time.process_time() - spent["trained"]
    }  # fmt: skip
    write_json(args.out / "follow.json", found)
    short = {key: value for key, value in found.items() if key not in ("prompts", "pairs")}
    aimed = {name: pair["aimed"] for name, pair in found["pairs"].items()}
    conclude(f"{conducts(found)}\n{table(found, args.least)}", {**short, "aimed": aimed}, args.markdown)
    return 0


def conducts(found: Mapping[str, Any]) -> str:
    """Whether every conduct was learned: the share of its prompts on which it shows in greedy replies."""
    rows = [
        [name, one["what"], str(one["shows"]["n"]), shown(one["shows"]), shown(one["base_shows"])]
        for name, one in found["conducts"].items()
    ]
    return markdown(["conduct", "what", "prompts", "shows", "in the base"], rows)


def table(found: Mapping[str, Any], least: int) -> str:
    """A line for every reader of a pair of models, what their conducts aim at, and every kind with enough cases."""
    rows = [
        [pair.replace("|", ", "), label, who, str(one["n"]), *(shown(one[figure], digits=2) for figure in FIGURES)]
        for pair, about in found["pairs"].items()
        for label, part in parts(about, least if pair.startswith(f"{BASE}|") else sys.maxsize)
        for who, one in part.items()
        if who in found["readers"] and one["n"]
    ]
    return markdown(["models", "kind", "reader", "n", *FIGURES], rows)


def parts(about: Mapping[str, Any], least: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "aimed at", about["aimed"]
    yield from ((kind, part) for kind, part in about["kinds"].items() if part["n"] >= least)
    yield "all but say", about["all"]


if __name__ == "__main__":
    sys.exit(main())
