"""What claims with probabilities cost: a reading with evidence and p_true against k plain samples.

A plain sample is an explanation that is written and scored, as a reading without claims would have it; the shown one is
the best of k. A reading with claims also parses all k, finds every claim's tokens, asks the probes, measures leverage
of what is doubted and asks the calibrator. Both sides take turns in one process on the same activations of fresh
held-out stories, at the same batch sizes; a round's ratio is taken of its own two halves. The last column counts
explanations that are written only.

    python benchmarks/trust.py                        # the built-in pair
    python benchmarks/trust.py --checkpoint runs/tiny --readings 120 --rounds 7
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from support.table import last_line
from torch import Tensor

from legible.config import CalibrateConfig
from legible.engines import LocalEngine
from legible.languages.base import Row
from legible.languages.world import story_document
from legible.reading.checkpoint import Checkpoint
from legible.reading.evidence import Spot, gather, neighbours_of, reconstruction_errors
from legible.reading.opening import load_checkpoint
from legible.reading.trusted import probabilities
from legible.recipes.calibrate import windows

BAR = 1.2
SAMPLES = (1, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin", help="a pair trained on the built-in world")
    parser.add_argument("--readings", type=int, default=180, help="activations to read")
    parser.add_argument("--max-tokens", type=int, default=96, help="longest explanation")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of both sides")
    parser.add_argument("--seed", type=int, default=7, help="of the stories")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checkpoint = load_checkpoint(args.checkpoint)
    documents = [story_document("test", args.seed, index) for index in range(-(-args.readings // 9))]
    vectors, rows = windows(checkpoint, documents, CalibrateConfig())
    vectors, rows = vectors[: args.readings], rows[: args.readings]
    print(
        f"{'k':>3} {'plain':>9} {'claims':>9} {'ratio':>7} {'by wall':>8} {'over written only':>18}   CPU ms a reading"
    )
    found = {k: compare(checkpoint, vectors, rows, k, args.max_tokens, args.rounds) for k in SAMPLES}
    for k in SAMPLES:
        print(f"bar {BAR} at k = {k}: {'met' if found[k]['ratio'] <= BAR else 'missed'}")
    last_line({"samples": found, "bar": BAR, **vars(args)})


def compare(
    checkpoint: Checkpoint, vectors: Tensor, rows: list[Row], k: int, max_tokens: int, rounds: int
) -> dict[str, float]:
    """Measure both sides at k samples, print their line, return the record."""
    engine = LocalEngine(checkpoint.verbalizer)
    heat = 1.0 if k > 1 else 0.0
    spots = [Spot(row.pos, (), row) for row in rows]
    near = neighbours_of([row.document.doc_id for row in rows], [row.pos for row in rows])

    def written() -> object:
        return engine.generate(vectors, samples=k, temperature=heat, max_tokens=max_tokens)

    def plain() -> object:
        groups = engine.generate(vectors, samples=k, temperature=heat, max_tokens=max_tokens)
        texts = [[done.explanation for done in group] for group in groups]
        return reconstruction_errors(checkpoint.reconstructor, texts, vectors)

    def claims() -> object:
        groups = engine.generate(vectors, samples=k, temperature=heat, max_tokens=max_tokens)
        found = gather(checkpoint, vectors, groups, spots, near)
        return probabilities(checkpoint, found, samples=k, temperature=heat)

    sides: tuple[Callable[[], object], ...] = (written, plain, claims)
    for side in sides:
        side()
    times = [[seconds(side) for side in sides] for _ in range(rounds)]
    cpu = [statistics.median(1e3 * turn[side][1] / len(rows) for turn in times) for side in range(3)]
    ratio = statistics.median(turn[2][1] / turn[1][1] for turn in times)
    wall = statistics.median(turn[2][0] / turn[1][0] for turn in times)
    alone = statistics.median(turn[2][1] / turn[0][1] for turn in times)
    print(f"{k:3} {cpu[1]:9.2f} {cpu[2]:9.2f} {ratio:7.3f} {wall:8.3f} {alone:18.3f}")
    return {"ratio": ratio, "ratio_wall": wall, "ratio_to_written": alone, "written_ms": cpu[0], "plain_ms": cpu[1],
            "claims_ms": cpu[2]}  # fmt: skip


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
