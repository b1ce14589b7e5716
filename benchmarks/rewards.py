"""What joint training should be paid for: reconstruction, truth, or both with telling texts apart; seeds of each.

All arms start from one warm start and train on one run's stores, with the recipe's own settings but for the reward;
the best step by `select` is kept, the warm start included. `expert` is expert iteration: explanations of the warm
start's own are ranked by truth, and the verbalizer is trained on the best of each activation. Every arm is then read
on the same held-out tokens, greedily: one row per arm with its seeds pooled, and its wrong and true claims as a share
of those of the arm `fve` (documents resampled, the seeds of an arm together). Finished trainings in OUT are skipped.

    python benchmarks/rewards.py --run runs/laptop --checkpoint smollm2 --out runs/rewards --markdown rewards.md

A run is any of the recipe `laptop`; only its texts and stores are used. Without one, a micro run of seconds in the
built-in world shows that the commands work; its figures mean nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from support.sweep import legible, micro_run
from support.table import conclude, markdown, shown

from legible.config import load_config
from legible.evaluate import claims
from legible.evaluate.carried import kl_recovered
from legible.evaluate.controls import mean_direction
from legible.evaluate.reconstruction import as_misses, explain, fve_of, reconstructions
from legible.evaluate.retrieval import (
    CANDIDATES,
    ECHO,
    context_lineup,
    drawn_rows,
    own_is_nearest,
    without_families,
)
from legible.evaluate.sample import Sample
from legible.evaluate.writing import writing
from legible.fileio import write_json
from legible.languages.base import Family
from legible.page import number
from legible.reading.checkpoint import Checkpoint
from legible.reading.opening import load_checkpoint
from legible.recipes.inputs import use_threads
from legible.recipes.sources import DocumentSource
from legible.stats import ratio_difference_interval, ratio_interval, share_interval
from legible.vectors import direction_mse

Record = dict[str, Any]
FAMILIES: tuple[Family, ...] = get_args(Family)
COUNTS = ("true", "wrong")


@dataclass(frozen=True)
class Arm:
    """One reward: the verb that trains, and its options."""

    verb: str
    options: str


ARMS = {
    "fve": Arm("rl", "--select-by fve"),
    "truth": Arm("rl", "--error-weight 0 --truth-reward 0.1 --select-by net_context_claims"),
    "all": Arm("rl", '--truth-reward 0.1 --terms {"discrimination":1} --select-by net_context_claims'),
    "expert": Arm(
        "prefer", "--loss sft --rank-by truth --length-balance 1 --length-window 1 --select-by net_context_claims"
    ),
}  # fmt: skip
BASE = "fve"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run whose store/ and texts are used; absent: one of seconds is made")
    parser.add_argument("--checkpoint", help="the warm start; absent: the run's own")
    parser.add_argument("--out", type=Path, default=Path("runs/rewards"), help="folder of the trainings")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS), help=",".join(ARMS))
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30, help="of joint training")
    parser.add_argument("--prompts", type=int, default=16, help="activations a step of joint training")
    parser.add_argument("--group", type=int, default=8, help="explanations per activation")
    parser.add_argument("--rate", type=float, default=3e-4, help="peak learning rate of the verbalizer, all arms")
    parser.add_argument("--rows", type=int, default=600, help="activations that expert iteration explains")
    parser.add_argument("--samples", type=int, default=4, help="explanations of each of these")
    parser.add_argument("--documents", type=int, default=100, help="held-out texts read")
    parser.add_argument("--positions", type=int, default=2, help="tokens read of each")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--measure-only", action="store_true", help="measure the trainings that are finished")
    parser.add_argument("--markdown", type=Path, help="also write the rows as a Markdown table")
    args = parser.parse_args()
    if unknown := sorted(set(args.arms) - set(ARMS)):
        parser.error(f"no arm {', '.join(unknown)}: see --help")
    return args


def folder(args: argparse.Namespace, arm: str, seed: int) -> Path:
    return Path(args.out) / f"{arm}-{seed}"


def training(args: argparse.Namespace, arm: str, seed: int) -> list[str]:
    """The command of one training."""
    run, made = Path(args.run), ARMS[arm]
    store, dev = str(run / "store/train"), str(run / "store/dev")
    config = load_config(run / "config.json").rl
    own = [
        "--verbalizer-lr",
        str(args.rate),
        "--max-tokens",
        str(config.max_tokens),
        "--seed",
        str(seed),
        "--threads",
        "1",
        "--json",
    ]
    own += [*made.options.split(), "--out", str(folder(args, arm, seed))]
    if made.verb == "rl":
        much = ["--steps", str(args.steps), "--prompts", str(args.prompts), "--group", str(args.group)]
        much += ["--evaluate-every", str(-(-args.steps // 2)), "--save-every", "10"]
        much += ["--length-cost", str(config.length_cost)]
        much += ["--verbalizer-schedule", "linear", "--reconstructor-schedule", "linear"]
        return ["rl", args.checkpoint, store, dev, *much, *own]
    steps = str(max(1, args.rows // 32))
    much = ["--rows", str(args.rows), "--samples", str(args.samples), "--steps", steps, "--evaluate-every", steps]
    return ["prefer", args.checkpoint, "--store", store, "--dev", dev, *much, *own]


def train_all(args: argparse.Namespace) -> list[str]:
    """Carry out what is not there yet; the names of those that failed."""
    wanted = [(arm, seed) for seed in args.seeds for arm in args.arms]

    def one(place: tuple[str, int]) -> str | None:
        done = folder(args, *place).with_suffix(".json")
        if done.exists():
            return None
        try:
            write_json(done, legible(training(args, *place), 1))
        except subprocess.CalledProcessError as error:
            print(f"== {place[0]}-{place[1]} FAILED with exit code {error.returncode}", file=sys.stderr, flush=True)
            return f"{place[0]}-{place[1]}"
        return None

    with ThreadPoolExecutor(args.jobs) as pool:
        return [name for name in pool.map(one, wanted) if name is not None]


class HeldOut:
    """The tokens that every arm is read on, with what they are compared with."""

    def __init__(self, args: argparse.Namespace) -> None:
        config = load_config(Path(args.run) / "config.json")
        found = self.opened(args.checkpoint)
        assert found.language is not None
        assert found.lookup is not None
        self.layer, self.language, self.max_tokens = found.layer, found.language, config.rl.max_tokens
        corpus = Path(args.run) / "texts.jsonl"
        source = DocumentSource(str(corpus) if corpus.exists() else None, 0, found.language.name)
        read = config.capture.measured.model_copy(update={"positions_per_doc": args.positions, "seed": 0})
        documents = source.documents("test", args.documents)
        self.sample = Sample.of_documents(found.target, documents, read, found.layer, found.language)
        self.target, self.guess, self.variance = found.target, mean_direction(found.lookup), found.variance
        chosen = drawn_rows(self.sample, 100, 0)
        able = len({self.sample.doc_ids[row] for row in chosen}) >= CANDIDATES
        self.lineup = context_lineup(found.target, found.layer, self.sample, chosen, 0) if able else None
        self.floor = self._said_without_activation(found)

    @staticmethod
    def opened(name: str) -> Checkpoint:
        return load_checkpoint(name)

    def measure(self, name: str) -> Record:
        """Columns of one checkpoint, a value per row, and its figures that are no sums."""
        found, sample, language = self.opened(name), self.sample, self.language
        assert found.reconstructor is not None
        explained = explain(found.engine, sample.vectors, max_tokens=self.max_tokens)
        pred = reconstructions(found.reconstructor, explained.texts, self.guess)
        miss = as_misses(direction_mse(pred, sample.vectors))
        judged = claims.judge_texts(explained.texts, sample, language)
        record: Record = {"miss": miss.tolist(), "tokens": explained.tokens, "texts": explained.texts}
        for family in FAMILIES:
            own = [item for item in judged if item.claim.family == family and item.claim.polarity == "positive"]
            true, decided = claims.tally(own, len(sample), context=False)
            record |= {f"{family} true": true.tolist(), f"{family} wrong": (decided - true).tolist()}
        record["recall"] = self._recall(judged, found)
        record["kl"] = kl_recovered(found.target, found.layer, sample, pred, self.guess).as_dict()
        record["found"] = self._retrieved(pred)
        bare = [without_families(language, text, ECHO) for text in explained.texts]
        record["found bare"] = self._retrieved(reconstructions(found.reconstructor, bare, self.guess))
        record["failures"] = explained.parse_failures
        return record

    def _recall(self, judged: Sequence[claims.Judged], found: Checkpoint) -> Record | None:
        if found.probes is None:
            return None
        labels = self.sample.labels(self.language, said=True)
        decodable = found.probes.decodable(self.sample.vectors, labels, self.sample.doc_ids)
        return claims.recall(judged, self.sample, decodable).as_dict()

    def _retrieved(self, pred: Any) -> list[float] | None:
        if self.lineup is None:
            return None
        hits = own_is_nearest(pred[self.lineup.rows], self.lineup.candidates)
        return [float(hit) for hit in hits]

    def _said_without_activation(self, found: Checkpoint) -> Record:
        texts = explain(found.engine, self.sample.vectors[:1] * 0, max_tokens=self.max_tokens).texts
        return {"text": texts[0]}


def pooled(records: Sequence[Record], name: str) -> np.ndarray[Any, Any]:
    """A column of several seeds, added up row by row."""
    columns: np.ndarray[Any, Any] = np.sum([record[name] for record in records], axis=0)
    return columns


def figures(records: Sequence[Record], bench: HeldOut) -> Record:
    """The figures of an arm, its seeds pooled."""
    docs, n = bench.sample.doc_ids, len(records)
    lined = [docs[row] for row in bench.lineup.rows] if bench.lineup is not None else []
    made: Record = {"seeds": n}
    for family in FAMILIES:
        true, wrong = (pooled(records, f"{family} {count}") for count in COUNTS)
        made[family] = {
            "precision": share_interval(true, true + wrong, docs).as_dict(),
            "true_per_reading": ratio_interval(true, np.full(len(docs), n), docs).as_dict(),
            "wrong_per_reading": ratio_interval(wrong, np.full(len(docs), n), docs).as_dict(),
        }
    made["fve"] = fve_of(pooled(records, "miss") / n, float(bench.variance or 1.0), docs).as_dict()
    for key, name in (("retrieval", "found"), ("retrieval_without_next_and_now", "found bare")):
        column = pooled(records, name) / n if lined else None
        made[key] = share_interval(column, np.ones(len(lined)), lined).as_dict() if column is not None else None
    made["tokens"] = float(np.mean([record["tokens"] for record in records]))
    made["parse_failures"] = sum(record["failures"] for record in records)
    for key in ("kl", "recall"):
        made[key] = [record[key] for record in records]
    lint = [writing(record["texts"], docs, bench.language) for record in records]
    made["writing"] = {key: [one[key] for one in lint] for key in lint[0]}
    return made


def beside(records: Sequence[Record], base: Sequence[Record], bench: HeldOut) -> Record:
    """Claims as a share of the base arm's, and differences in retrieval, documents resampled."""
    docs = bench.sample.doc_ids
    made: Record = {}
    for family in FAMILIES:
        for count in COUNTS:
            ours, theirs = (pooled(part, f"{family} {count}") / len(part) for part in (records, base))
            made[f"{family} {count}"] = ratio_interval(ours, theirs, docs).as_dict()
    if bench.lineup is not None:
        lined = [docs[row] for row in bench.lineup.rows]
        ours, theirs = (pooled(part, "found") / len(part) for part in (records, base))
        ones = np.ones(len(lined))
        made["retrieval"] = ratio_difference_interval((ours, ones), (theirs, ones), lined).as_dict()
    return made


def rows(made: Mapping[str, Record], compared: Mapping[str, Record]) -> Iterator[list[str]]:
    for arm, one in made.items():
        other = compared.get(arm, {})
        yield [
            arm,
            str(one["seeds"]),
            *(shown(one[family]["precision"], digits=2) for family in FAMILIES),
            shown(one["context"]["true_per_reading"], digits=2),
            shown(one["context"]["wrong_per_reading"], digits=2),
            shown(other.get("context true"), digits=2),
            shown(other.get("context wrong"), digits=2),
            shown(one["fve"], digits=2),
            shown(one["retrieval"], digits=2),
            shown(one["retrieval_without_next_and_now"], digits=2),
            _mean(one["kl"]),
            _mean(one["recall"]),
            f"{one['tokens']:.0f}",
            *(_mean(one["writing"][key]) for key in ("repeats", "unfinished", "words_per_claim")),
        ]


def _mean(values: Sequence[Record | None]) -> str:
    return " / ".join("–" if value is None else number(value["value"]) for value in values)


COLUMNS = (
    "arm", "seeds", *(f"{family}: precision" for family in FAMILIES),
    "context: true per reading", "context: wrong per reading", f"true / {BASE}", f"wrong / {BASE}",
    "FVE", "retrieval", "without next and now", "KL recovered, per seed", "recall, per seed", "tokens",
    "repeats", "unfinished", "words per claim",
)  # fmt: skip


def main() -> int:
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        if args.run is None:
            args.threads = 1
            micro_run(args, Path(temporary))
            vars(args).update(steps=1, prompts=4, group=4, rows=32, samples=3, seeds=[0], documents=20)
        args.checkpoint = args.checkpoint or str(Path(args.run) / "sft/checkpoint")
        args.out.mkdir(parents=True, exist_ok=True)
        failed = [] if args.measure_only else train_all(args)
        return report(args, failed)


def report(args: argparse.Namespace, failed: Sequence[str]) -> int:
    """Measure what is trained and print it."""
    use_threads(args.jobs)
    bench = HeldOut(args)
    records: dict[str, list[Record]] = {"warm": [kept(args, bench, "warm", args.checkpoint)]}
    for arm in args.arms:
        names = [folder(args, arm, seed) for seed in args.seeds]
        finished = [name for name in names if name.with_suffix(".json").exists()]
        if finished:
            records[arm] = [kept(args, bench, name.name, str(name / "checkpoint")) for name in finished]
    made = {arm: figures(found, bench) for arm, found in records.items()}
    compared = {arm: beside(found, records[BASE], bench) for arm, found in records.items() if BASE in records}
    trained = {name.stem: json.loads(name.read_text(encoding="utf-8")) for name in sorted(args.out.glob("*-*.json"))}
    settings = {key: str(value) for key, value in vars(args).items()}
    table = markdown(COLUMNS, rows(made, compared))
    found = {"arms": made, "beside": compared, "no_activation": bench.floor, "trainings": trained}
    conclude(table, {**found, "failed": list(failed), "settings": settings}, args.markdown)
    return 1 if failed else 0


def kept(args: argparse.Namespace, bench: HeldOut, name: str, checkpoint: str) -> Record:
    """What a checkpoint read, measured once."""
    file = Path(args.out) / "read" / f"{name}-{args.documents}x{args.positions}.json"
    if not file.exists():
        print(f"== reading {name}", file=sys.stderr, flush=True)
        write_json(file, bench.measure(checkpoint))
    record: Record = json.loads(file.read_text(encoding="utf-8"))
    return record


if __name__ == "__main__":
    sys.exit(main())
