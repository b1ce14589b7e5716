"""Search for better explanations: what the reconstructor gains, what another one and the truth make of it.

Every method may write N explanations' worth of tokens per reading; N = 1 is the greedy explanation. The reconstructor
of the pair chooses, so its own FVE must rise; whether more is said, and said rightly, shows in the FVE under a second
reconstructor that never met this verbalizer and in the context claims. `consensus` is no search: it keeps of the
greedy explanation the clauses whose claims a share of N explanations makes. Paired differences are to the greedy
explanations of the same rows, documents resampled together.

A finished row leaves OUT/METHOD-N.json and is skipped when that is there.

    python benchmarks/search.py --checkpoint runs/tiny --second runs/tiny/controls/second --out runs/search
    python benchmarks/search.py --checkpoint runs/tiny --second runs/other-seed --budgets 1,4 --documents 20
    python benchmarks/search.py --documents 2 --budgets 1,2    # the shipped pair, in seconds
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from support.consensus import consensus
from support.table import conclude, markdown, shown

from legible.config import EvalConfig
from legible.engines.sampling import numbered
from legible.engines.search import METHODS, Method, SearchEngine, reading_back
from legible.evaluate import claims
from legible.evaluate.controls import lookup_misses, mean_direction
from legible.evaluate.reconstruction import Misses, context_fve_of, fve_gain, fve_of, misses
from legible.evaluate.sample import Sample
from legible.fileio import write_json
from legible.languages.world import LANGUAGE as WORLD
from legible.models.reconstructor import HEAD_FILE, Reconstructor
from legible.reading.checkpoint import Checkpoint
from legible.reading.opening import load_checkpoint
from legible.recipes.inputs import use_threads
from legible.recipes.stages.measuring import HeldOut
from legible.stats import Interval, ratio_difference_interval, ratio_interval

Record = dict[str, Any]
CONSENSUS = "consensus"
LONGEST = 96
COLUMNS = (
    "method", "samples", "FVE", "difference", "FVE, second", "difference ", "context FVE",
    "context precision", "difference  ", "context claims", "wrong", "tokens", "CPU s",
)  # fmt: skip


def main() -> int:
    args = arguments()
    use_threads(args.threads)
    found = load_checkpoint(args.checkpoint)
    if found.reconstructor is None or found.lookup is None or found.variance is None:
        sys.exit(f"{args.checkpoint} has no reconstructor, token lookup or variance: nothing can be scored")
    bench = Bench(args, found, second_reconstructor(args.second, found))
    names = [("greedy", 1)] + [(method, n) for method in args.methods for n in args.budgets if n > 1]
    rows = [bench.row(method, n) for method, n in names]
    conclude(markdown(COLUMNS, map(shown_row, rows)), {"rows": rows, "settings": bench.settings}, args.markdown)
    return 0


def arguments() -> argparse.Namespace:
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin")
    parser.add_argument("--second", type=Path, help="checkpoint of another seed, or a folder of a reconstructor alone")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=[*METHODS, CONSENSUS])
    parser.add_argument("--budgets", type=numbers, default=[1, 2, 4, 8, 16], help="explanations' worth per reading")
    parser.add_argument("--share", type=float, default=0.75, help="of the explanations that a kept claim needs")
    parser.add_argument("--documents", type=int, default=60, help="held-out documents read, 4 tokens of each")
    parser.add_argument("--corpus", help="their file; absent: the one of the training")
    parser.add_argument("--seed", type=int, default=1, help="of documents, positions and sampling")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of the rows; absent: nothing is kept")
    parser.add_argument("--markdown", type=Path, help="also write the rows as a Markdown table")
    args = parser.parse_args()
    if unknown := sorted(set(args.methods) - {*METHODS, CONSENSUS}):
        parser.error(f"no method {', '.join(unknown)}: expected {', '.join((*METHODS, CONSENSUS))}")
    return args


def second_reconstructor(path: Path | None, found: Checkpoint) -> Reconstructor | None:
    """Another reconstructor of the same target: of a checkpoint, or a folder of its own with the same prompt."""
    if path is None:
        return None
    if (path / HEAD_FILE).exists():
        assert found.reconstructor is not None
        return Reconstructor.load(path, found.reconstructor.prompt)
    other = load_checkpoint(path)
    if other.target.sha256() != found.target.sha256() or other.layer != found.layer:
        sys.exit(f"{path} reads another target or layer: its reconstructor speaks of other vectors")
    return other.reconstructor


class Bench:
    """The rows that are read, both reconstructors, and what the greedy explanations score."""

    def __init__(self, args: argparse.Namespace, found: Checkpoint, second: Reconstructor | None) -> None:
        self.args, self.found, self.second = args, found, second
        self.settings: Record = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(args).items()
            if name in ("checkpoint", "second", "share", "documents", "corpus", "seed", "threads")
        }
        config = EvalConfig(documents=args.documents, positions_per_doc=4, seed=args.seed)
        capture, documents, _ = HeldOut(found, args.checkpoint, config, args.corpus).drawn()
        read = capture.model_copy(update={"positions_per_doc": config.positions_per_doc, "seed": args.seed})
        if documents is None:
            documents = WORLD.documents("test", args.seed, args.documents)
        self.sample = Sample.of_documents(found.target, documents, read, found.layer, found.language)
        self.greedy: Record | None = None
        self.samples: list[list[tuple[str | None, int]]] = []

    def row(self, method: str, n: int) -> Record:
        """One row of the table, read from OUT where it was made before."""
        kept = self.args.out / f"{method}-{n}.json" if self.args.out is not None else None
        if kept is not None and kept.exists():
            made: Record = json.loads(kept.read_text(encoding="utf-8"))
            if made["settings"] != self.settings:
                sys.exit(f"{kept} was made with {made['settings']}, now {self.settings}: choose another --out")
        else:
            print(f"== {method} {n}", file=sys.stderr, flush=True)
            started = time.process_time()
            texts, tokens = self.explain(method, n)
            spent = round(time.process_time() - started, 1)
            made = {"method": method, "n": n, "texts": texts, "tokens": tokens / len(self.sample), "cpu_s": spent}
            made |= {"settings": self.settings}
            if kept is not None:
                write_json(kept, made)
        scored = self.score(made["texts"])
        if method == "greedy":
            self.greedy = scored
        assert self.greedy is not None
        return {
            **{key: made[key] for key in ("method", "n", "tokens", "cpu_s")},
            **self.figures(scored, self.greedy if method != "greedy" else None),
        }

    def explain(self, method: str, n: int) -> tuple[list[str | None], int]:
        """The explanations that a method ends with, and all tokens that it wrote."""
        found, vectors = self.found, self.sample.vectors
        assert found.reconstructor is not None
        if method == CONSENSUS:
            if found.language is None:
                sys.exit("consensus needs a language that parses claims: leave it out of --methods")
            several = self.several(n)
            texts = [consensus([text for text, _ in mine], found.language, self.args.share) for mine in several]
            return texts, sum(length for mine in several for _, length in mine)
        chosen = METHODS[0] if method == "greedy" else method
        engine = SearchEngine(found.verbalizer, reading_back(found.reconstructor), cast(Method, chosen), n)
        best = engine.generate(vectors, numbered(self.args.seed, len(vectors)), max_tokens=LONGEST)
        return [one[0].explanation for one in best], engine.cost.tokens

    def several(self, n: int) -> list[list[tuple[str | None, int]]]:
        """The greedy explanation of every row and n - 1 samples, each with its tokens."""
        engine, vectors = self.found.engine, self.sample.vectors
        greedy = engine.generate(vectors, max_tokens=LONGEST)
        keys = numbered(self.args.seed, len(vectors))
        more = engine.generate(vectors, keys, samples=n - 1, temperature=1.0, max_tokens=LONGEST)
        return [[(one.explanation, len(one.ids)) for one in (*a, *b)] for a, b in zip(greedy, more, strict=True)]

    def score(self, texts: list[str | None]) -> Record:
        """Errors under both reconstructors, and true and decided context claims, row by row."""
        found, sample = self.found, self.sample
        assert found.reconstructor is not None and found.lookup is not None  # noqa: PT018
        guess = mean_direction(found.lookup)
        scored: Record = {"own": misses(found.reconstructor, texts, sample.vectors, guess)}
        scored["lookup"] = lookup_misses(found.lookup, sample)
        if self.second is not None:
            scored["second"] = misses(self.second, texts, sample.vectors, guess)
        if found.language is not None:
            judged = claims.judge_texts(texts, sample, found.language)
            scored["true"], scored["decided"] = claims.tally(judged, len(sample), context=True)
        return scored

    def figures(self, scored: Record, greedy: Record | None) -> Record:
        """Every score with its interval, and the paired differences to the greedy explanations."""
        docs, variance = self.sample.doc_ids, self.found.variance
        assert variance is not None
        ones = np.ones(len(docs))
        found: Record = {}
        for name in ("own", "second"):
            if name in scored:
                miss: Misses = scored[name]
                found[f"fve_{name}"] = fve_of(miss, variance, docs).as_dict()
                if greedy is not None:
                    found[f"fve_{name}_difference"] = fve_gain(miss, greedy[name], variance, docs).as_dict()
        found["context_fve"] = context_fve_of(scored["own"], scored["lookup"], docs).as_dict()
        if "true" in scored:
            pair = scored["true"], scored["decided"]
            found["context_precision"] = ratio_interval(*pair, docs).as_dict()
            found["context_claims"] = ratio_interval(pair[1], ones, docs).as_dict()
            found["wrong_context_claims"] = ratio_interval(pair[1] - pair[0], ones, docs).as_dict()
            if greedy is not None:
                base = greedy["true"], greedy["decided"]
                difference: Interval = ratio_difference_interval(pair, base, docs)
                found["context_precision_difference"] = difference.as_dict()
        return found


def shown_row(row: Record) -> tuple[str, ...]:
    number = lambda name: f"{row[name]['value']:.2f}" if name in row else ""
    return (
        row["method"],
        str(row["n"]),
        shown(row.get("fve_own")),
        shown(row.get("fve_own_difference"), "+"),
        shown(row.get("fve_second")),
        shown(row.get("fve_second_difference"), "+"),
        shown(row["context_fve"]),
        shown(row.get("context_precision")),
        shown(row.get("context_precision_difference"), "+"),
        number("context_claims"),
        number("wrong_context_claims"),
        f"{row['tokens']:.1f}",
        f"{row['cpu_s']:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
