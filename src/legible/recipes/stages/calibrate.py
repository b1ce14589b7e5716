"""The stages that fit what a checkpoint lacks: the probability of claims (p_true), and V with the token lookup."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from legible.config import CalibrateConfig, CaptureConfig
from legible.contract import VarianceRecord
from legible.documents import Document
from legible.errors import UsageError
from legible.fileio import file_sha256, write_directory
from legible.identity import Identity, once
from legible.probes.probes import ProbeSet
from legible.progress import line_progress
from legible.reading.calibrated import CALIBRATOR, store_calibrator
from legible.reading.calibration import Calibrators
from legible.reading.checkpoint import PROBES, Checkpoint
from legible.reading.measured import LOOKUP, Measured
from legible.reading.shipped import shipped
from legible.recipes.calibrate import calibrate, check
from legible.recipes.sources import DocumentSource, source_for
from legible.recipes.stages.rows import Capture, fit_lookup


@dataclass(frozen=True)
class Calibrate:
    """Fit the calibrators of a checkpoint on documents of no training and no evaluation.

    checkpoint: as loaded from `name`, a run's or a checkpoint's folder; for a copy also a hub name or a shipped pair.
    config: how much is read, and the seed.
    corpus: where documents come from; absent: the world for the world's, the contract's corpus for others.
    probes: what the activation holds, kept with the checkpoint from now on; absent: those it has, if any.
    """

    checkpoint: Checkpoint
    name: str
    config: CalibrateConfig
    corpus: str | None = None
    probes: Path | None = None

    def documents(self) -> list[Document]:
        """What is read: whole documents, then a language's own texts of one to three sentences, as people type them.

        Raises:
            UsageError: a corpus that is not there.
        """
        source = source_for(self.checkpoint, self.name, self.corpus, self.config.seed)
        return [
            *source.documents("calibrate", self.config.documents),
            *source.short("calibrate", self.config.short_documents),
        ]

    def identity(self) -> Identity:
        """What a calibrated copy depends on."""
        told = {"documents": [vars(document) for document in self.documents()]}
        parts = {"calibrate": self.config, "documents": Identity("corpus", told).digest, **self.checkpoint.parts}
        given = {"given probes": file_sha256(self.probes)} if self.probes is not None else {}
        return Identity("calibrate", {**parts, **given}, beside=True)

    def run(self, out: Path | None = None) -> Calibrators:
        """Fit both calibrators and store them in the checkpoint's folder, or with a copy of it in `out`.

        Raises:
            UsageError: probes or a corpus that are not there, an `out` of something else, or too little to fit on.
        """
        check(self.checkpoint)
        if out is not None:
            once(out, self.identity(), lambda: write_directory(out, self._copy))
        elif shipped(self.name) or not Path(self.name).exists() or not (self.checkpoint.path / "av").is_dir():
            raise UsageError(
                f"{self.name} is not a folder of yours with both roles in it.\n  Copy it with its calibrator: --out DIR"
            )
        else:
            self._fit(self.checkpoint.path)
        return Calibrators.load((out or self.checkpoint.path) / CALIBRATOR)

    def _copy(self, folder: Path) -> None:
        copy_checkpoint(self.checkpoint, folder)
        self._fit(folder)

    def _fit(self, folder: Path) -> None:
        found, documents = self.checkpoint, self.documents()
        given = ProbeSet.load(self.probes).as_kept() if self.probes is not None else None
        found = replace(found, probes=given or found.probes)
        shown = line_progress("calibrate", len(documents))
        pair = calibrate(found, self.config, documents, split="calibrate", progress=shown)
        if given is not None:  # until the new calibrator is there, the old one refuses to speak beside them
            given.save(folder / PROBES)
        store_calibrator(folder, pair)


@dataclass(frozen=True)
class MeasureVariance:
    """Measure V and the token lookup of a checkpoint that records neither, on texts of the user's.

    checkpoint: as loaded from `name`.
    corpus: where documents come from; absent: as for `Calibrate`.
    count: most documents read, of the corpus's training split; eight tokens of each.
    seed: which tokens.
    """

    checkpoint: Checkpoint
    name: str
    corpus: str | None = None
    count: int = 1000
    seed: int = 0

    def run(self, out: Path | None = None) -> Measured:
        """What is measured now or was before, kept with the checkpoint, or with a copy of it in `out`.

        A stopped measurement resumes.

        Raises:
            UsageError: V is recorded already, a corpus that is not there or too short, or an `out` of something else.
        """
        found = self.checkpoint
        extra = found.contract.legible
        if found.measured is None and extra is not None and extra.variance is not None:
            known = extra.variance
            raise UsageError(
                f"{self.name} records its variance: {known.value:.4f} over {known.n} rows (split {known.split}).\n"
                "  There is nothing to measure. For scores beside their floors: legible evaluate CHECKPOINT"
            )
        if out is not None:
            once(out, self._identity(), lambda: write_directory(out, self._copier(out)))
        elif found.measured is None:
            self._measured(self._kept).save(self._kept, found.target, found.layer)
        measured = Measured.load(out or self._kept, found.target, found.layer)
        assert measured is not None
        return measured

    @property
    def _kept(self) -> Path:
        return self.checkpoint.kept or self.checkpoint.path

    @cached_property
    def _source(self) -> DocumentSource:
        return source_for(self.checkpoint, self.name, self.corpus, self.seed)

    def _identity(self) -> Identity:
        """What a copy with its V depends on."""
        told = {"documents": [vars(document) for document in self._source.documents("train", self.count)]}
        parts = {key: value for key, value in self.checkpoint.parts.items() if key != "measured"}
        digest = Identity("corpus", told).digest
        return Identity("calibrate", {"variance": {"seed": self.seed}, "documents": digest, **parts}, beside=True)

    def _measured(self, place: Path) -> Measured:
        """Capture beside `place`, so that a stopped measurement resumes, and clear that away."""
        found, source = self.checkpoint, self._source
        documents = source.documents("train", self.count)
        config = CaptureConfig(layers=(found.layer,), dtype="float32", seed=self.seed)
        work = place.with_name(f".{place.name}.measuring")
        store = Capture(found.target, documents, config).run(work, line_progress("measure", len(documents)))
        lookup = fit_lookup(store, found.layer, work / LOOKUP)
        variance = VarianceRecord(**store.variance(found.layer), split="train", positions=config.positions_text())
        shutil.rmtree(work)
        return Measured(variance, Path(source.corpus).name if source.corpus else source.language, lookup)

    def _copier(self, out: Path) -> Callable[[Path], None]:
        def copy(folder: Path) -> None:
            found = self.checkpoint
            before = Measured.load(self._kept, found.target, found.layer) if found.measured is not None else None
            copy_checkpoint(found, folder)
            (before or self._measured(out)).save(folder, found.target, found.layer)

        return copy


def copy_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """The checkpoint in a folder of ours, with both roles in it; links into a cache become files."""
    given = checkpoint.given
    if (checkpoint.path / "av").is_dir():
        shutil.copytree(checkpoint.path, folder, dirs_exist_ok=True)
    for role, path in (("av", given.av), ("ar", given.ar)) if given is not None else ():
        if path is not None and path != checkpoint.path / role:
            shutil.rmtree(folder / role, ignore_errors=True)
            shutil.copytree(path, folder / role)
