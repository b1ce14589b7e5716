"""Steering by words in the built-in world: how often an edited claim becomes what the story then says.

At tokens of held-out stories where a fact is known, the reading says it and the target's own continuation tells it
again, the claim is edited and the story continued: see `legible.steer.evaluation` for the arms and
`legible.steer.strength` for the strength. Intervals are over documents. The bars: at least 0.70 of the
patch ceiling, and at least 0.50 above an unrelated edit and a random direction. With --vectors, directions from files
(KIND=VALUE each, such as reading vectors) stand beside the edit and a random direction at equal cost in fluency.

    python benchmarks/steer.py --checkpoint builtin --documents 40 --markdown steer.md
    python benchmarks/steer.py --documents 3    # seconds
    python benchmarks/steer.py --vectors reading=directions.safetensors --vectors latent=latents.safetensors
"""

import argparse
import time
from pathlib import Path
from typing import Any

from support.table import conclude, markdown, shown

from legible.errors import UsageError
from legible.progress import line_progress
from legible.reading.opening import load_checkpoint
from legible.recipes.inputs import use_threads
from legible.steer.contrasts import Contrasts, load_contrasts
from legible.steer.evaluation import ARMS, BAR_ABOVE, BAR_SHARE, evaluate_steering

Record = dict[str, Any]
COLUMNS = ("fact", "n", *ARMS, "share of ceiling", "above unrelated", "above random", "strength", "read back")
FLUENCY = ("arm", "accepted sentences", "nats per token", "silent")
EQUAL = ("nats more at most", "direction", "n", "success", "edit ahead by", "nats", "nothing added")
SWEEP = ("strength", "success", "accepted sentences", "nats per token")


def main() -> int:
    args = arguments()
    use_threads(args.threads)
    started = time.process_time()
    checkpoint = load_checkpoint(args.checkpoint)
    report = evaluate_steering(
        checkpoint,
        documents=args.documents,
        positions=args.positions,
        max_tokens=args.max_tokens,
        seed=args.seed,
        contrasts=given(args.vectors, checkpoint.target.d_model),
        progress=line_progress("sites"),
    )
    bars = {"share_of_ceiling": BAR_SHARE, "above": BAR_ABOVE}
    extra = {"checkpoint": args.checkpoint, "bars": bars, "cpu_seconds": time.process_time() - started}
    conclude("\n".join(tables(report)), {**report, **extra}, args.markdown)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin")
    parser.add_argument("--documents", type=int, default=40, help="held-out stories; one site of each kind in each")
    parser.add_argument("--positions", type=int, default=5, help="tokens looked at in every story")
    parser.add_argument("--max-tokens", type=int, default=60, help="of a continuation")
    parser.add_argument("--seed", type=int, default=1, help="of stories, tokens, values and controls")
    parser.add_argument("--vectors", action="append", default=[], metavar="NAME=FILE", help="directions of values")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    return parser.parse_args()


def given(vectors: list[str], d_model: int) -> dict[str, Contrasts] | None:
    """The files of `NAME=FILE`, by name; None without any."""
    found = {}
    for text in vectors:
        name, _, file = text.partition("=")
        if not name or not file:
            raise UsageError(f"--vectors is {text!r}, expected NAME=FILE.")
        found[name] = load_contrasts(Path(file), d_model)
    return found or None


def tables(report: Record) -> list[str]:
    """Success by kind, fluency by arm, the edit by strength, and how many tokens served, as Markdown."""
    rows = [_kind(name, found) for name, found in [*report["kinds"].items(), ("all", report)]]
    fluency = [(arm, _interval(found["accepted"]), _two(found["nats"]), _two(found["silent"]))
               for arm, found in report["arms"].items()]  # fmt: skip
    sweep = [(f"{row['strength']:g}", _interval(row["success"]), _interval(row["accepted"]), _two(row["nats"]))
             for row in report["sweep"]]  # fmt: skip
    equal = [(f"{row['nats']:g}", name, str(one["n"]), _interval(one["success"]), _interval(one["ahead"]),
              _two(one["cost"]), _two(one["untouched"]))
             for row in report.get("equal_cost", []) for name, one in row["arms"].items()]  # fmt: skip
    stages = list(next(iter(report["sites"].values())))
    counts = [(kind, *(str(found[stage]) for stage in stages)) for kind, found in report["sites"].items()]
    return [
        markdown(COLUMNS, rows),
        markdown(FLUENCY, fluency),
        markdown(SWEEP, sweep),
        *([markdown(EQUAL, equal)] if equal else []),
        markdown(("fact", *stages), counts),
    ]


def _kind(name: str, found: Record) -> tuple[str, ...]:
    success = [_two(found["arms"][arm]["success"]["value"]) for arm in ARMS]
    shares = [_interval(found[key]) for key in ("share_of_ceiling", "above_unrelated", "above_random")]
    return (name, str(found["n"]), *success, *shares, _two(found["strength"]), f"{found['read_back']}/{found['n']}")


def _interval(value: Record) -> str:
    return shown(value, digits=2)


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
