"""Explanations per second: the local engine against plain transformers `generate(inputs_embeds=...)`.

Each at its own best batch size; greedy, the same vectors and weights, text included; run alternately in one process.
Vectors are activations of fresh held-out stories. The floor is the matrix products of the tokens written and nothing
else. Where the two write different tokens, the logits of a plain, unbatched, uncached forward say whether it was a tie.

    python benchmarks/generate.py                          # the built-in pair
    python benchmarks/generate.py --checkpoint runs/tiny --threads 2
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from support.table import last_line
from torch import Tensor

from legible.config import CaptureConfig
from legible.engines import LocalEngine
from legible.evaluate.sample import Sample
from legible.languages.world import story_document
from legible.models.verbalizer import Verbalizer
from legible.reading.opening import load_checkpoint

BAR = 2.0
TIE = 1e-4
BATCHES = (32, 64, 128, 192, 256, 384, 512)
Run = Callable[[int], list[list[int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin", help="a pair trained on the built-in world")
    parser.add_argument("--readings", type=int, default=512, help="activations to explain")
    parser.add_argument("--max-tokens", type=int, default=96, help="longest explanation")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds at each side's best batch")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of both sides")
    parser.add_argument("--seed", type=int, default=7, help="of the stories")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checkpoint = load_checkpoint(args.checkpoint)
    documents = [story_document("test", args.seed, index) for index in range(-(-args.readings // 4))]
    config = CaptureConfig(positions_per_doc=4, min_pos=12, max_tokens=min(256, checkpoint.target.context))
    sample = Sample.of_documents(checkpoint.target, documents, config, checkpoint.layer, None, limit=args.readings)
    result = compare(checkpoint.verbalizer, sample.vectors, args.max_tokens, args.rounds)
    last_line({**result, **vars(args)})


def compare(verbalizer: Verbalizer, vectors: Tensor, max_tokens: int, rounds: int) -> dict[str, object]:
    """Measure both sides, print the table, return the record."""
    ours: Run = lambda batch: legible_ids(verbalizer, vectors, batch, max_tokens)
    theirs: Run = lambda batch: transformers_ids(verbalizer, vectors, batch, max_tokens)
    sweep: dict[str, dict[int, float]] = {"legible": {}, "transformers": {}}
    print(f"{'batch':>6} {'legible':>10} {'transformers':>13}   explanations/s")
    for batch in BATCHES:
        for name, run in (("legible", ours), ("transformers", theirs)):
            sweep[name][batch] = len(vectors) / min(seconds(run, batch)[0] for _ in range(2))
        print(f"{batch:6} {sweep['legible'][batch]:10.1f} {sweep['transformers'][batch]:13.1f}")
    best = {name: max(rates, key=rates.__getitem__) for name, rates in sweep.items()}
    wall, cpu = [], []
    for _ in range(rounds):
        (our_wall, our_cpu), (their_wall, their_cpu) = (
            seconds(ours, best["legible"]),
            seconds(theirs, best["transformers"]),
        )
        wall.append((our_wall, their_wall))
        cpu.append(their_cpu / our_cpu)
    rate = [len(vectors) / statistics.median(side) for side in zip(*wall, strict=True)]
    written = ours(best["legible"])
    lengths = [len(ids) for ids in written]
    floor = len(vectors) / floor_seconds(verbalizer, sum(lengths) + len(lengths), best["legible"])
    agreement = agree(verbalizer, vectors, written, theirs(best["transformers"]))
    ratio = statistics.median(their / our for our, their in wall)
    print(f"{'best':>6} {rate[0]:10.1f} {rate[1]:13.1f}   at batches {best['legible']} and {best['transformers']}")
    print(f"{'floor':>6} {floor:10.1f}                 the matrix products alone")
    print(f"ratio {ratio:.2f} by wall clock, {statistics.median(cpu):.2f} by CPU time (bar {BAR}); tokens {agreement}")
    return {
        "ratio": ratio,
        "ratio_cpu": statistics.median(cpu),
        "bar": BAR,
        "per_second": {"legible": rate[0], "transformers": rate[1], "floor": floor},
        "batch": best,
        "sweep": sweep,
        "agreement": agreement,
        "mean_tokens": statistics.fmean(lengths),
        "longest": max(lengths),
    }


def legible_ids(verbalizer: Verbalizer, vectors: Tensor, batch: int, max_tokens: int) -> list[list[int]]:
    groups = LocalEngine(verbalizer, batch=batch).generate(vectors, max_tokens=max_tokens)
    return [group[0].ids for group in groups]


def transformers_ids(verbalizer: Verbalizer, vectors: Tensor, batch: int, max_tokens: int) -> list[list[int]]:
    stop_ids = list(verbalizer.prompt.stop_ids)
    written: list[list[int]] = []
    model: Any = verbalizer.model  # generate is declared for no class of models
    for start in range(0, len(vectors), batch):
        embeds = verbalizer.prompt_embeds(vectors[start : start + batch]).detach()
        out = model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=stop_ids,
            pad_token_id=stop_ids[0],
        )
        verbalizer.tokenizer.batch_decode(out, skip_special_tokens=True)
        written += [before_stop(ids, stop_ids) for ids in out.tolist()]
    return written


def before_stop(ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    return list(ids[: next((place for place, token in enumerate(ids) if token in stop_ids), len(ids))])


def seconds(run: Run, batch: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run(batch)
    return time.perf_counter() - wall, time.process_time() - cpu


@torch.inference_mode()
def floor_seconds(verbalizer: Verbalizer, tokens: int, batch: int) -> float:
    """Time of one product with every weight matrix of blocks and head, `tokens` rows in all, `batch` at a time."""
    head = verbalizer.model.get_output_embeddings().weight
    weights = [parameter for parameter in verbalizer.arch.blocks.parameters() if parameter.ndim == 2] + [head]
    inputs = [torch.randn(batch, weight.shape[1]) for weight in weights]
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for x, weight in zip(inputs, weights, strict=True):
            F.linear(x, weight)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * tokens / batch


@torch.no_grad()
def agree(
    verbalizer: Verbalizer, vectors: Tensor, ours: Sequence[list[int]], theirs: Sequence[list[int]]
) -> dict[str, int]:
    """Rows with the same tokens, rows that part at a tie of logits below 1e-4, and rows that differ otherwise."""
    counts = {"identical": 0, "ties": 0, "different": 0}
    stop = verbalizer.prompt.stop_ids[0]
    for vector, a, b in zip(vectors, ours, theirs, strict=True):
        if a == b:
            counts["identical"] += 1
            continue
        a, b = [*a, stop], [*b, stop]
        place = next(i for i, (left, right) in enumerate(zip(a, b, strict=False)) if left != right)
        embeds = verbalizer.prompt_embeds(vector[None])
        if place:
            embeds = torch.cat([embeds, verbalizer.arch.embed(torch.tensor([a[:place]]))], 1)
        logits = verbalizer.model(inputs_embeds=embeds, use_cache=False).logits[0, -1]
        counts["ties" if abs(logits[a[place]] - logits[b[place]]) < TIE else "different"] += 1
    return counts


if __name__ == "__main__":
    main()
