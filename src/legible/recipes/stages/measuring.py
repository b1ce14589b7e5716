"""The stages that measure a checkpoint on held-out documents: the evaluation, and the truth of its readings."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legible.config import CaptureConfig, EvalConfig, HeldOutConfig, TruthConfig
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.run import Battery, Writes, evaluate_checkpoint
from legible.evaluate.truth_report import truth_report
from legible.fileio import cache_dir
from legible.progress import line_progress
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint
from legible.recipes.sources import source_for
from legible.teachers.judge import Judge

LARGEST = 20_000  # documents drawn from a corpus for an evaluation
FIRST = 1  # earliest token read in single sentences: what people type begins there


@dataclass(frozen=True)
class HeldOut:
    """A checkpoint and how it is measured.

    name: what the report calls it.
    config: how much is read, and the seed that draws the documents.
    corpus: where they come from; absent: the world for the world's, the contract's corpus for others.
    """

    checkpoint: Checkpoint
    name: str
    config: HeldOutConfig
    corpus: str | None = None

    def drawn(self) -> tuple[CaptureConfig, list[Document] | None, list[Document]]:
        """Which positions are read, the documents to read (None in the world: it writes its own), others for probes.

        Raises:
            UsageError: a checkpoint of a corpus that is not there, and no `corpus` given; or a language's own texts
                where a corpus is read.
        """
        extra = self.checkpoint.contract.legible
        positions = extra.variance.positions if extra and extra.variance else ""
        capture = CaptureConfig.from_positions(positions, layers=(self.checkpoint.layer,))
        source = source_for(self.checkpoint, self.name, self.corpus, self.config.seed)
        if source.corpus is None:
            short = {"min_pos": FIRST} if self.config.sentences is not None else {}
            return capture.model_copy(update=short), None, []
        if isinstance(self.config.documents, str):
            raise UsageError(
                f"{self.config.documents} are written by a language that makes its texts, but the texts of {self.name} "
                f"come from {source.corpus}.\n  Say how many of these: --documents N"
            )
        documents = source.documents("test", LARGEST)
        order = np.random.default_rng([self.config.seed, 3]).permutation(len(documents)).tolist()
        pool = [documents[i] for i in order[self.config.texts :]] + source.documents("dev", LARGEST)
        return capture, [documents[i] for i in order[: self.config.texts]], pool

    def measured(self, verb: str) -> dict[str, Any]:
        """The arguments that every measurement takes."""
        capture, documents, pool = self.drawn()
        progress = lambda stage: print(f"{verb}: {stage}", file=sys.stderr, flush=True)
        return {"name": self.name, "capture": capture, "documents": documents, "pool": pool, "progress": progress}

    def warned(self, report: dict[str, Any]) -> dict[str, Any]:
        """The report, with a warning under `other_target` where what was read is not what the pair was trained on."""
        other = self.checkpoint.other_target
        return report if other is None else {**report, OTHER_TARGET: other, "target": self.checkpoint.studied}


@dataclass(frozen=True)
class Evaluate(HeldOut):
    """Measure a checkpoint beside its floors; `battery` and `writer` are the controls (`legible.recipes.controls`)."""

    config: EvalConfig
    battery: Battery | None = None
    writer: Writes | None = None

    def run(self) -> dict[str, Any]:
        """The report; see `legible.evaluate.run`.

        Raises:
            UsageError: as for `drawn`.
        """
        given = self.measured("evaluate")
        battery, writer = self.battery, self.writer
        return self.warned(
            evaluate_checkpoint(self.checkpoint, config=self.config, battery=battery, writer=writer, **given)
        )


@dataclass(frozen=True)
class Truth(HeldOut):
    """Measure how true a checkpoint's claims are; `judge` gives the verdicts, absent: the checkpoint's language."""

    config: TruthConfig
    judge: Judge | None = None

    def run(self) -> dict[str, Any]:
        """The report; see `legible.evaluate.truth_report`.

        Raises:
            UsageError: as for `drawn`.
            TeacherError: the judge failed for good; run again, its answers so far are kept.
        """
        given = {"judge": self.judge, "judging": line_progress("judge"), **self.measured("truth")}
        return self.warned(truth_report(self.checkpoint, config=self.config, **given))


def default_cache() -> Path:
    """Where a judge's answers are kept unless another file is named."""
    return cache_dir() / "judge.sqlite"
