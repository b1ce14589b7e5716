"""V and the token lookup of a checkpoint that records neither, measured once on texts of the user's.

They belong to the target's weights and the layer, and are kept with the names of both: beside a folder of the user's,
elsewhere in the cache, under those names.

    variance.json  lookup.safetensors
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from legible.config import AUTO, Placement
from legible.contract import VarianceRecord
from legible.errors import ContractError
from legible.fileio import cache_dir, write_json
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.reading.calibrated import ends_digest

VARIANCE = "variance.json"
LOOKUP = "lookup.safetensors"


@dataclass(frozen=True)
class Measured:
    """What was measured; `corpus` is what the file was called."""

    variance: VarianceRecord
    corpus: str
    lookup: TokenLookup

    def line(self) -> str:
        """What was measured, for a terminal."""
        v = self.variance
        documents = f" of {v.documents} documents" if v.documents is not None else ""
        return f"V {v.value:.4f} over {v.n} rows{documents} ({self.corpus}, split {v.split})"

    def save(self, folder: Path, target: Target, layer: int) -> None:
        """Write both files; V comes last, and without it neither is read."""
        folder.mkdir(parents=True, exist_ok=True)
        self.lookup.save(folder / LOOKUP)
        of = {"target": ends_digest([target.model.state_dict()]), "layer": layer, "corpus": self.corpus}
        write_json(folder / VARIANCE, {**of, "variance": self.variance.model_dump()})

    @classmethod
    def load(cls, folder: Path, target: Target, layer: int, place: Placement = AUTO) -> "Measured | None":
        """What `save` left in the folder; None where nothing was measured.

        Args:
            folder: see `kept_in`.
            target, layer: what it must have been measured on.
            place: how the target was placed, for the next command.

        Raises:
            ContractError: a damaged file, or one that was measured on another target or layer, or in another precision.
        """
        file = folder / VARIANCE
        if not file.is_file():
            return None
        again = (
            f"  Measure anew: delete {file}, then\n"
            f"  legible calibrate CHECKPOINT --variance --corpus FILE{place.options()}"
        )
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            variance = VarianceRecord.model_validate(found["variance"])
            of = found["target"], found["layer"]
        except (ValueError, TypeError, KeyError, ValidationError) as error:
            raise ContractError(f"{file} cannot be used ({type(error).__name__}).\n{again}") from None
        if of != (ends_digest([target.model.state_dict()]), layer):
            raise ContractError(
                f"{file} was measured on another target or layer, or in another precision (layer {of[1]}; this "
                f"checkpoint reads layer {layer} of {target.name} in {target.precision}).\n{again}"
            )
        return cls(variance, str(found.get("corpus", "")), TokenLookup.load(folder / LOOKUP))


def kept_in(folder: Path | None, target: Target, layer: int) -> Path:
    """Where the measured of a checkpoint is kept.

    Args:
        folder: the user's own place for it; None: the cache.
        target, layer: what it belongs to.
    """
    return folder or cache_dir() / "measured" / f"{ends_digest([target.model.state_dict()])}-L{layer}"
