"""The stages of a run, one function each: what the verbs of the command line and `run` both call.

Every function takes the paths it reads and the path it writes, is finished when its output is whole, and goes on
where it stopped when called again.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from legible.config import CaptureConfig, PretrainConfig
from legible.data.capture import Progress
from legible.data.capture import capture as run_capture
from legible.data.store import Store
from legible.documents import Document, Split, read_corpus, split_of
from legible.errors import UsageError
from legible.evaluate.target_report import target_report
from legible.fileio import write_atomic
from legible.models.target import Target
from legible.train.world_target import train_world_target
from legible.truth.languages import language_for
from legible.world import story, story_document

LanguageName = Literal["world", "facts"]


def use_threads(threads: int) -> None:
    """Torch threads of this process; results are bit-identical only at the same number.

    Raises:
        UsageError: fewer than one.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}, expected at least 1.")
    torch.set_num_threads(threads)


def split_named(name: str) -> Split:
    """The split of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in get_args(Split):
        raise UsageError(f"no split {name!r}: expected {', '.join(get_args(Split))}.")
    return name  # type: ignore[return-value]


@dataclass(frozen=True)
class Source:
    """Where documents come from: a corpus file, or the world under a seed."""

    corpus: str | None
    seed: int = 0

    def documents(self, split: Split, count: int) -> list[Document]:
        """The first `count` documents of a split; splits are by document, so none stands in two.

        Raises:
            UsageError: the corpus is missing, unreadable or empty, or has no document in this split.
        """
        if self.corpus is None:
            return [story_document(split, self.seed, index) for index in range(count)]
        of_split = (document for document in read_corpus(Path(self.corpus)) if split_of(document.doc_id) == split)
        chosen = list(islice(of_split, count))
        if not chosen:
            raise UsageError(
                f"{self.corpus} has no document in the split {split!r}: documents are split by a hash of their id.\n"
                "  The usual cause is a corpus of a few documents. Put one document a line, a hundred or more."
            )
        return chosen


def open_target(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False, layers: Sequence[int] = ()
) -> Target:
    """Load a target and prove that the given layers are what they are called.

    Raises:
        UsageError: no such model, pickle weights, or a layer out of range.
        UnsupportedModelError: an unknown family, or a failed self-check.
    """
    target = Target.load(name, revision=revision, trust_remote_code=trust_remote_code)
    for layer in layers:
        target.self_check(layer)
    return target


def pretrain(config: PretrainConfig, out: Path) -> Path:
    """Train the world's target into `out`."""
    return train_world_target(config, out)


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as handle:
            for document in documents:
                handle.write(json.dumps({"doc_id": document.doc_id, "text": document.text}, ensure_ascii=False) + "\n")

    write_atomic(path, write)


def read_documents(path: Path) -> list[Document]:
    """The documents of a file that `write_documents` wrote."""
    return list(read_corpus(path))


def capture(
    target: Target, documents: Sequence[Document], config: CaptureConfig, out: Path, progress: Progress | None = None
) -> Store:
    """Store the target's activations on the documents.

    Raises:
        UsageError: no document was long enough to read a token from.
    """
    store = run_capture(target, documents, config, out, progress=progress)
    if not len(store):
        raise UsageError(
            f"none of {len(documents)} documents has a token at position {config.min_pos} or later.\n"
            "  The usual cause is short texts. Lower it: --min-pos, or --set capture.min_pos=N"
        )
    return store


def report_target(
    target: Target, train: Path, held_out: Path, layer: int, language: str, seed: int = 0
) -> dict[str, Any]:
    """What the activations of two stores hold; see `legible.evaluate.target_report`."""
    entropy: Callable[[str], float] | None = (lambda doc_id: story(doc_id).nats) if language == "world" else None
    stores = Store.open(train), Store.open(held_out)
    return target_report(target, *stores, layer, language_for(language), entropy=entropy, seed=seed)


def taught(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a teacher's file."""
    with path.open(encoding="utf-8") as handle:
        yield from (json.loads(line) for line in handle)
