"""The stage that fits the probability of claims (p_true) and stores it with its checkpoint."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from legible.config import CalibrateConfig
from legible.documents import Document
from legible.errors import UsageError
from legible.fileio import file_sha256, write_directory
from legible.identity import Identity, once
from legible.probes.probes import ProbeSet
from legible.progress import line_progress
from legible.reading.calibrated import CALIBRATOR, store_calibrator
from legible.reading.calibration import Calibrators
from legible.reading.checkpoint import PROBES, Checkpoint
from legible.recipes.calibrate import calibrate, check
from legible.recipes.sources import source_for


@dataclass(frozen=True)
class Calibrate:
    """Fit the calibrators of a checkpoint on documents of no training and no evaluation.

    checkpoint: as loaded from `name`, a run's or a checkpoint's folder; for a copy also a hub name or `builtin`.
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
        elif self.name == "builtin" or not Path(self.name).exists():
            raise UsageError(
                f"{self.name} is not a folder of yours to write into.\n  Copy it with its calibrator: --out DIR"
            )
        else:
            self._fit(self.checkpoint.path)
        return Calibrators.load((out or self.checkpoint.path) / CALIBRATOR)

    def _copy(self, folder: Path) -> None:
        shutil.copytree(self.checkpoint.path, folder, dirs_exist_ok=True)
        self._fit(folder)

    def _fit(self, folder: Path) -> None:
        found, documents = self.checkpoint, self.documents()
        given = ProbeSet.load(self.probes) if self.probes is not None else None
        found = replace(found, probes=given or found.probes)
        shown = line_progress("calibrate", len(documents))
        pair = calibrate(found, self.config, documents, split="calibrate", progress=shown)
        if given is not None:  # until the new calibrator is there, the old one refuses to speak beside them
            given.save(folder / PROBES)
        store_calibrator(folder, pair)
