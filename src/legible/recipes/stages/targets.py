"""The target's stages: training the world's own, and reporting what there is to read in one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible import languages
from legible.config import AUTO, Placement, PretrainConfig
from legible.data.store import Store
from legible.errors import ConfigError
from legible.evaluate.target_report import target_report
from legible.identity import Identity, once
from legible.models.target import Target
from legible.train.world_target import train_world_target

LOSS_STORIES = 200  # fresh stories of the target's own training distribution, for its loss
FRESH_SEED = 1_000_000  # seeds of stories that no training has seen


@dataclass(frozen=True)
class Pretrain:
    """Train the world's target; `place` names the device, which is no part of what it is."""

    config: PretrainConfig
    place: Placement = AUTO

    def __post_init__(self) -> None:
        """Check the future bag's layer.

        Raises:
            ConfigError: it is not one of the target's.
        """
        config = self.config
        if config.bag_weight > 0 and not 0 <= config.bag_layer < config.n_layers:
            raise ConfigError(
                f"bag_layer {config.bag_layer} is out of range: the target has layers 0 to {config.n_layers - 1}.\n"
                "  Choose another --bag-layer, or --bag-weight 0 for the untreated twin."
            )

    def identity(self) -> Identity:
        """What the target depends on."""
        return Identity("pretrain", {"pretrain": self.config}, beside=True)

    def run(self, out: Path) -> Path:
        """The target in `out` (Hugging Face format), trained now or before; returns `out`.

        Raises:
            UsageError: `out` holds something else.
        """
        identity = self.identity()
        once(out, identity, lambda: train_world_target(self.config, out, made_by=identity.digest, place=self.place))
        return out


@dataclass(frozen=True)
class Probe:
    """Report what the activations of two stores hold; see `legible.evaluate.target_report`.

    train fits the probes, held_out judges them; language: who knows the facts; seed: of folds and fresh stories.
    """

    target: Target
    train: Store
    held_out: Store
    layer: int
    language: str
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """The report.

        Raises:
            UsageError: no language of that name.
        """
        speaks = languages.get(self.language)
        fresh = speaks.documents("pretrain", FRESH_SEED + self.seed, LOSS_STORIES)
        given = (self.target, self.train, self.held_out, self.layer, speaks)
        return target_report(*given, loss_documents=fresh, seed=self.seed)
