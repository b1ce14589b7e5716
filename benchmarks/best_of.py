"""Best of N while reading, on any checkpoint and corpus: what more samples buy in score, and what they cost in truth.

The rows are those of `legible evaluate`. Of the greedy explanation and N - 1 samples at temperature 1 the one stays
whose vector comes back best, judged by the pair's own reconstructor: FVE here is what was selected for, precision not.

    python benchmarks/best_of.py CHECKPOINT --corpus texts.jsonl --documents 100 --samples 8
"""

import argparse
import json

import torch

from legible.config import EvalConfig
from legible.contract import git_commit
from legible.engines.local import LocalEngine
from legible.evaluate import claims
from legible.evaluate.controls import lookup_misses, mean_direction
from legible.evaluate.reconstruction import context_fve_of, fve_of, misses
from legible.evaluate.sample import Sample
from legible.fileio import finite
from legible.recipes.record import machine
from legible.recipes.standalone import held_out_documents
from legible.train.checkpoint import Checkpoint, load_checkpoint
from legible.vectors import direction_mse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="builtin")
    parser.add_argument("--corpus", help="documents; absent: the contract's, in the world its own stories")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = load_checkpoint(args.checkpoint)
    sample = rows(found, args)
    engine = LocalEngine(found.verbalizer)
    greedy = [done[0].explanation for done in engine.generate(sample.vectors, max_tokens=args.max_tokens)]
    more = engine.generate(
        sample.vectors, samples=args.samples - 1, temperature=1.0, max_tokens=args.max_tokens, seed=1
    )
    several = [[first, *(one.explanation for one in others)] for first, others in zip(greedy, more, strict=True)]
    arms = {"greedy": greedy, f"best of {args.samples}": best(found, sample, several)}
    figures = {name: scores(found, sample, texts) for name, texts in arms.items()}
    print("| reading | FVE | context FVE | context precision | context claims |\n|---|---|---|---|---|")
    for name, row in figures.items():
        shown = " | ".join(f"{v['value']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for v in row.values())
        print(f"| {name} | {shown} |")
    print(json.dumps(finite({"arms": figures, "rows": len(sample), "commit": git_commit(), "machine": machine()})))


def rows(found: Checkpoint, args: argparse.Namespace) -> Sample:
    """The rows that `legible evaluate` reads."""
    config = EvalConfig(documents=args.documents)
    capture, documents, _ = held_out_documents(found, args.checkpoint, config, args.corpus)
    if documents is None:
        from legible.evaluate.run import world_documents

        documents = world_documents(config.seed, args.documents)
    read = capture.model_copy(update={"positions_per_doc": config.positions_per_doc, "seed": config.seed})
    return Sample.of_documents(found.target, documents, read, found.layer, found.language)


def best(found: Checkpoint, sample: Sample, several: list[list[str | None]]) -> list[str | None]:
    """Of each row's explanations the one whose vector comes back best; None where none was parsed."""
    flat = [(row, text) for row, texts in enumerate(several) for text in texts if text is not None]
    assert found.reconstructor is not None
    back = found.reconstructor.reconstruct([text for _, text in flat])
    errors = direction_mse(back.cpu(), sample.vectors[[row for row, _ in flat]]).tolist()
    kept: dict[int, tuple[float, str]] = {}
    for (row, text), error in zip(flat, errors, strict=True):
        if row not in kept or error < kept[row][0]:
            kept[row] = (error, text)
    return [kept[row][1] if row in kept else None for row in range(len(several))]


def scores(found: Checkpoint, sample: Sample, texts: list[str | None]) -> dict[str, dict[str, float]]:
    """FVE, context FVE, context precision and context claims a reading, with intervals."""
    assert found.reconstructor is not None
    assert found.lookup is not None
    assert found.variance is not None
    assert found.language is not None
    docs = sample.doc_ids
    miss = misses(found.reconstructor, texts, sample.vectors, mean_direction(found.lookup))
    judged = claims.judge_texts(texts, sample, found.language)
    return {
        "fve": fve_of(miss, found.variance, docs).as_dict(),
        "context_fve": context_fve_of(miss, lookup_misses(found.lookup, sample), docs).as_dict(),
        "context_precision": claims.precision(judged, docs, context=True).as_dict(),
        "context_claims": claims.claims_per_reading(judged, docs, context=True).as_dict(),
    }


if __name__ == "__main__":
    main()
