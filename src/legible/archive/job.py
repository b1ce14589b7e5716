"""A corpus run as the command line asks for it: options checked, a checkpoint loaded, progress shown."""

from dataclasses import dataclass
from pathlib import Path

from legible.archive.choosing import Positions
from legible.archive.writing import Filled, fill
from legible.config import AUTO, Placement
from legible.documents import read_corpus
from legible.progress import line_progress
from legible.reading.reader import load


@dataclass(frozen=True)
class CorpusJob:
    """A corpus run as the command line has it."""

    corpus: Path
    archive: Path
    positions: str = "all"
    per_document: int | None = None
    samples: int = 1
    temperature: float | None = None
    seed: int = 0


def read_corpus_into(
    checkpoint: str,
    job: CorpusJob,
    *,
    target: str | None = None,
    reconstructor: str | None = None,
    other_target: bool = False,
    place: Placement = AUTO,
) -> Filled:
    """Load a checkpoint and fill an archive, with progress on stderr.

    Args:
        checkpoint, target, reconstructor, other_target: see `legible.reading.reader.load`.
        job: what to read, where to and how.
        place: the device, and how the weights are held.

    Raises:
        UsageError: a missing or empty corpus, and what `load` and `fill` raise.
    """
    positions = Positions(job.positions, job.per_document, job.seed)
    next(read_corpus(job.corpus))  # a missing or empty corpus is said before models are loaded
    reader = load(
        checkpoint, target=target, reconstructor=reconstructor, other_target=other_target, **place.model_dump()
    )
    return fill(
        reader,
        job.corpus,
        job.archive,
        positions,
        samples=job.samples,
        temperature=job.temperature,
        seed=job.seed,
        progress=line_progress("reading"),
    )
