"""The stages of instruments: training one on a store, and reading a text with one."""

from dataclasses import dataclass
from pathlib import Path

from legible.config import AUTO, USUAL, InstrumentConfig, Placement
from legible.data.store import Store
from legible.evaluate.sample import Sample
from legible.fileio import content_sha256
from legible.identity import Identity, once
from legible.instruments import INSTRUMENTS, Setting
from legible.languages.base import Language
from legible.models.placement import precision_part
from legible.models.target import Target
from legible.reading import zero_shot
from legible.recipes.inputs import open_store
from legible.train.instruments import Progress, train_instrument

ROWS = 20_000  # of a store, where their number is not given


@dataclass(frozen=True)
class TrainInstrument:
    """Train the instrument of a name for one layer of a target, on a store of its activations.

    rows: at most so many of the store's, drawn by `seed`.
    config: options of those that have any.
    language: says what holds of them, for an instrument whose training needs that or labels what it learned.
    """

    name: str
    target: Target
    layer: int
    store: Store
    rows: int = ROWS
    seed: int = 0
    config: InstrumentConfig = USUAL
    language: Language | None = None

    def identity(self) -> Identity:
        """What the file depends on."""
        parts = {
            "target": self.target.sha256(), "layer": self.layer, "store": self.store.sha256, "rows": self.rows,
            "seed": self.seed, **precision_part(self.target.model),
        }  # fmt: skip
        if self._language is not None:
            parts["language"] = self._language.name
        if (own := self.config.of(self.name)) is not None:
            start = None if own.start is None else content_sha256(Path(own.start))
            parts |= {
                "config": own.model_copy(update={"start": start}),
                "language": self.language.name if self.language is not None else None,
            }
        return Identity(f"instrument {self.name}", parts, beside=True)

    def run(self, out: Path, progress: Progress = lambda done, total: None) -> Path:
        """The file `out`, trained now or before; returns it.

        Raises:
            UsageError: no such training, a store without this layer or of another target, or `out` holds something
                else.
        """

        def train() -> None:
            others = Sample.of_store(self.store, self.layer, self._language, limit=self.rows, seed=self.seed)
            language = self._language if self.config.of(self.name) is None else self.language
            setting = Setting(self.target, self.layer, language, others=others, seed=self.seed, config=self.config)
            train_instrument(self.name, setting, out, progress)

        once(out, self.identity(), train)
        return out

    @property
    def _language(self) -> Language | None:
        return self.language if self.name in INSTRUMENTS and INSTRUMENTS[self.name].labelled else None


def instrument_reader(
    name: str, method: str, *, layer: int | None = None, weights: Path | None = None, place: Placement = AUTO
) -> zero_shot.ZeroShotReader:
    """What `legible read --method` reads with; `weights` is what a trained instrument learned, or a store of rows.

    Raises:
        UsageError: as for `zero_shot.load`.
    """
    if weights is None or not weights.is_dir() or INSTRUMENTS[method].folder:
        return zero_shot.load(name, method, layer=layer, weights=weights, place=place)
    setting = zero_shot.setting_of(name, layer=layer, pair=not INSTRUMENTS[method].alone, place=place)
    others = Sample.of_store(open_store(weights), setting.layer, setting.language, limit=ROWS)
    return zero_shot.load(name, method, layer=layer, others=others, place=place)
