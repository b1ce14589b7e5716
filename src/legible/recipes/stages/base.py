"""A stage that fills one folder and sums up what it did."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from legible.fileio import write_json
from legible.identity import Identity, once

SUMMARY = "summary.json"


class Stage(ABC):
    """Work into a folder: done once, gone on with after a kill, never mixed with another's."""

    @abstractmethod
    def identity(self) -> Identity:
        """What the output depends on."""

    @abstractmethod
    def work(self, out: Path, made_by: str) -> dict[str, Any]:
        """Do the work, or what is left of it; returns the summary.

        Args:
            out: the claimed folder.
            made_by: digest of the identity, for unfinished states.
        """

    def run(self, out: Path) -> dict[str, Any]:
        """The work in `out`, done now or before; returns what OUT/summary.json holds.

        Raises:
            UsageError: `out` holds something else.
        """
        identity = self.identity()
        once(out, identity, lambda: write_json(out / SUMMARY, self.work(out, identity.digest)))
        summary: dict[str, Any] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
        return summary
