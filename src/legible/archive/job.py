"""A corpus run as the command line asks for it: options checked, a checkpoint loaded, progress shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from legible.archive.choosing import Positions
from legible.archive.writing import Filled, fill
from legible.config import AUTO, Placement
from legible.documents import read_corpus
from legible.errors import UsageError
from legible.progress import line_progress
from legible.reading.reader import load


@dataclass(frozen=True)
class CorpusJob:
    """A corpus run as the command line has it."""

    corpus: Path | None
    archive: Path | None
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
    others: Mapping[str, bool] | None = None,
    place: Placement = AUTO,
) -> Filled:
    """Load a checkpoint and fill an archive, with progress on stderr.

    Args:
        checkpoint, target, reconstructor, other_target: see `legible.reading.reader.load`.
        job: what to read, where to and how.
        others: options that belong to single texts, and whether they were given.
        place: the device, and how the weights are held.

    Raises:
        UsageError: options that do not go together, and what `load` and `fill` raise.
    """
    if job.corpus is None or job.archive is None:
        raise UsageError(
            "a corpus run needs both --corpus and --archive.\n"
            "  For example: legible read builtin --corpus texts.jsonl --archive out.db --positions-per-doc 8"
        )
    if wrong := [name for name, given in (others or {}).items() if given]:
        raise UsageError(
            f"{', '.join(wrong)} and --corpus do not go together.\n"
            "  Leave it out: give the trust when searching (legible search ARCHIVE WORDS --min-trust 0.8), and\n"
            "  reports come from the archive (legible report ARCHIVE --out DIR)."
        )
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
