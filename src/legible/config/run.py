"""A whole run: its stages' sections and the seed, read from and saved to `config.json`."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from legible.config.base import Section, validated
from legible.config.data import CaptureConfig, TeachConfig, TextsConfig
from legible.config.measuring import CalibrateConfig, EvalConfig
from legible.config.placement import Placement
from legible.config.targets import PretrainConfig
from legible.config.training import RLConfig, SFTConfig
from legible.errors import ConfigError, UsageError
from legible.fileio import decoded, write_json


class RunConfig(Section):
    """A whole run: `legible train RECIPE` writes it to OUT/config.json before anything else."""

    recipe: str = Field("custom", description="the recipe that made this")
    target: str | None = Field(
        None, description="directory, hub name, GGUF file or name of a causal LM; absent: the world's target is trained"
    )
    revision: str | None = Field(None, description="hub revision of the target")
    trust_remote_code: bool = Field(False, description="run model code from the target's repository")
    corpus: str | None = Field(
        None, description="file of documents; absent: those of `texts`, or the world writes them"
    )
    texts: TextsConfig | None = Field(None, description="labelled texts that the run makes itself; absent: none")
    layer: int = Field(2, description="layer K that is read")
    train_documents: int = Field(3000, description="documents captured for training")
    short_documents: int = Field(
        0, description="texts of one to three sentences also captured for training (the world's)", ge=0
    )
    dev_documents: int = Field(120, description="documents captured for choosing checkpoints")
    pretrain: PretrainConfig = PretrainConfig()
    capture: CaptureConfig = CaptureConfig()
    teach: TeachConfig = TeachConfig()
    sft: SFTConfig = SFTConfig()
    rl: RLConfig = RLConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    evaluate: EvalConfig = EvalConfig()
    placement: Placement = Placement()
    threads: int = Field(2, description="torch threads; results are bit-identical only at the same number")
    seed: int = Field(0, description="seed of the whole run; recipes copy it into every stage")

    @model_serializer(mode="wrap")
    def _without_unset(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a placement and texts that were not chosen: such runs equal those of versions that had neither."""
        tree: dict[str, Any] = write(self)
        unset = {"placement"} if self.placement.is_default else set()
        unset |= {"texts"} if self.texts is None else set()
        return {name: value for name, value in tree.items() if name not in unset}

    def deciding(self) -> dict[str, Any]:
        """All that decides the run's results, for its identity: everything but the device."""
        tree = self.model_dump(mode="json", exclude={"placement"})
        placement = self.placement.deciding()
        return {**tree, "placement": placement} if placement else tree


def load_config(path: Path) -> RunConfig:
    """Read a saved configuration.

    Raises:
        ConfigError: not JSON, an unknown key, or a value of the wrong type.
    """
    try:
        tree = json.loads(decoded(path.read_bytes(), path))
    except (json.JSONDecodeError, UsageError, OSError) as error:
        raise ConfigError(
            f"{path} is not a run configuration: {error}\n  Compare it with the config.json of a finished run."
        ) from None
    return validated(RunConfig, tree, str(path))


def save_config(config: RunConfig, path: Path) -> None:
    """Write the configuration as JSON, atomically."""
    write_json(path, config.model_dump(mode="json"))
