"""The stage that fits the probability of claims (p_true) and stores it with its checkpoint."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from legible.config import CalibrateConfig
from legible.documents import Document
from legible.errors import UsageError
from legible.fileio import file_sha256, write_directory
from legible.identity import Identity, claim, finish
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
        """What is read.

        Raises:
            UsageError: a corpus that is not there.
        """
        source = source_for(self.checkpoint, self.name, self.corpus, self.config.seed)
        return source.documents("calibrate", self.config.documents)

    def identity(self) -> Identity:
        """What a calibrated copy depends on."""
        told = [{"doc_id": document.doc_id, "text": document.text} for document in self.documents()]
        parts = {"calibrate": self.config, "documents": Identity("corpus", {"all": told}).digest}
        if self.probes is not None:
            parts["given probes"] = file_sha256(self.probes)
        return Identity("calibrate", {**parts, **self.checkpoint.parts()}, beside=True)

    def run(self, out: Path | None = None) -> Calibrators:
        """Fit both calibrators and store them in the checkpoint's folder, or with a copy of it in `out`.

        Raises:
            UsageError: probes or a corpus that are not there, an `out` of something else, or too little to fit on.
        """
        check(self.checkpoint)
        if out is None:
            if self.name == "builtin" or not Path(self.name).exists():
                raise UsageError(
                    f"{self.name} is not a folder of yours to write into.\n  Copy it with its calibrator: --out DIR"
                )
            pair = self._fit()
            self._keep(self.checkpoint.path, pair)
            return pair
        identity = self.identity()
        if claim(out, identity) == "finished":
            return Calibrators.load(out / CALIBRATOR)
        pair = self._fit()
        write_directory(out, lambda folder: self._keep(folder, pair, copied=True))
        finish(out, identity)
        return pair

    def _fit(self) -> Calibrators:
        found, documents = self.checkpoint, self.documents()
        found = replace(found, probes=ProbeSet.load(self.probes)) if self.probes is not None else found
        shown = line_progress("calibrate", len(documents))
        return calibrate(found, self.config, documents, split="calibrate", progress=shown)

    def _keep(self, folder: Path, pair: Calibrators, *, copied: bool = False) -> None:
        if copied:
            shutil.copytree(self.checkpoint.path, folder, dirs_exist_ok=True)
        if self.probes is not None:  # until the new calibrator is there, the old one refuses to speak beside them
            ProbeSet.load(self.probes).save(folder / PROBES)
        store_calibrator(folder, pair)
