"""The stages that train the pair: warm start, and joint training by RL."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from legible import languages
from legible.config import AUTO, Placement, PreferConfig, RLConfig, SFTConfig
from legible.contract import LegibleExtra, TargetRecord
from legible.data.store import Store
from legible.errors import UsageError
from legible.evaluate.measure import held_out_measure, measure_names
from legible.fileio import file_sha256
from legible.identity import Identity, recorded_parts
from legible.models.placement import precision_part
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.reading.checkpoint import Checkpoint, save_checkpoint
from legible.reading.opening import load_checkpoint
from legible.recipes.inputs import open_store
from legible.recipes.pair import Pair, copied_target, describe, pair_of, target_along
from legible.recipes.stages.base import Stage
from legible.recipes.stages.rows import fit_lookup, probes_file
from legible.train.rl import Measure, check_select_by, train_rl
from legible.train.sft import check_kept_blocks, saved_roles, train_sft
from legible.train.terms.extras import Knowledge

CHECKPOINT = "checkpoint"
LOOKUP = "lookup.safetensors"
MEASURE_ROWS = 256  # held-out rows that choose the best step


@dataclass(frozen=True)
class SFT(Stage):
    """Warm-start a pair on the teacher's text and leave it as OUT/checkpoint.

    target, layer, store: what is read, and its activations on the training split.
    teach_file: the teacher's text of that store.
    contract: what the checkpoint says of itself; its language puts texts in other words.
    target_dir: the target's folder where it goes along with the checkpoint.
    lookup: file of the token lookup, fitted on the store where it is not there yet; absent: in OUT.
    probes: file of what the activations hold, kept with the checkpoint.
    """

    target: Target
    layer: int
    store: Store
    teach_file: Path
    config: SFTConfig
    contract: LegibleExtra
    target_dir: Path | None = None
    lookup: Path | None = None
    probes: Path | None = None

    def __post_init__(self) -> None:
        """Check that there is something to learn from.

        Raises:
            UsageError: no teacher's file, or blocks to keep that the target does not have.
        """
        check_kept_blocks(self.config, self.target)
        if not self.teach_file.is_file():
            raise UsageError(f"no teacher's text at {self.teach_file}.\n  Write it first with legible teach.")

    @classmethod
    def alone(
        cls, target: Target, layer: int, store: Store, teach_file: Path, config: SFTConfig, revision: str | None = None
    ) -> "SFT":
        """The stage outside of a run: teacher, language and probes are those that lie beside the teacher's text."""
        teacher = recorded_parts(teach_file, beside=True).get("teach", {}).get("teacher")
        named = TargetRecord(id=target.name, revision=revision, sha256=target.sha256())
        language = teacher if teacher in languages.names() else None
        contract = describe(store, layer, target=named, teacher=teacher, language=language, seed=config.seed)
        beside = {"target_dir": copied_target(target.name), "probes": probes_file(teach_file)}
        return cls(target, layer, store, teach_file, config, contract, **beside)

    def identity(self) -> Identity:
        """What the warm start depends on."""
        parts = {"sft": self.config, "layer": self.layer, "target": self.target.sha256(), "store": self.store.sha256}
        files = {"teach": self.teach_file, "probes": self.probes}
        held = {name: file_sha256(file) for name, file in files.items() if file is not None and file.exists()}
        told = self.contract.model_dump(mode="json", include={"teacher", "language", "corpus", "seed"})
        return Identity("sft", {**parts, **told, **held, **precision_part(self.target.model)})

    def work(self, out: Path, made_by: str) -> dict[str, Any]:
        """Train both roles into OUT/av and OUT/ar and assemble the checkpoint; returns what was counted."""
        given = (self.config, self.target, self.layer, self.store, self.teach_file, out)
        named = self.contract.language
        speaks = languages.get(named) if named is not None else None
        result = train_sft(*given, made_by=made_by, language=speaks)
        lookup = fit_lookup(self.store, self.layer, self.lookup or out / LOOKUP)
        probes = ProbeSet.load(self.probes) if self.probes is not None and self.probes.exists() else None
        roles, into = saved_roles(self.config, self.target, self.layer, out), out / CHECKPOINT
        save_checkpoint(into, *roles, self.contract, target_dir=self.target_dir, lookup=lookup, probes=probes)
        return asdict(result)


@dataclass(frozen=True, kw_only=True)
class FromCheckpoint(Stage):
    """What the trainings that start from a checkpoint share; they leave the best pair as another checkpoint.

    checkpoint: the warm start, with language, token lookup, probes and target; its roles are trained in place.
    store, dev: activations of the training split, and of other documents, which choose the best step.
    contract: what the new checkpoint says of itself.
    into: the new checkpoint's folder; absent: OUT/checkpoint.
    """

    section: ClassVar[str]
    checkpoint: Checkpoint
    store: Store
    dev: Store
    contract: LegibleExtra
    config: RLConfig | PreferConfig
    into: Path | None = None

    @classmethod
    def alone(cls, name: str, store: Path, dev: Path, config: Any, place: Placement = AUTO, **more: Any) -> Self:
        """The stage outside of a run, from the names of its inputs."""
        found = load_checkpoint(name, place=place, train=True)
        contract = found.contract.legible or LegibleExtra(target=TargetRecord(id=found.target.name))
        changes = {"parents": [*contract.parents, name], "seed": config.seed, "metrics": {}}
        given = {"store": open_store(store), "dev": open_store(dev), "config": config, **more}
        return cls(checkpoint=found, contract=contract.model_copy(update=changes), **given)

    def __post_init__(self) -> None:
        """Refuse now what would fail after hours.

        Raises:
            UsageError: a checkpoint without reconstructor, or `select_by` is no measure.
        """
        found = self.checkpoint
        pair_of(found)
        names = measure_names(language=found.language is not None, probes=found.probes is not None)
        check_select_by(self.section, self.config, names)

    def identity(self) -> Identity:
        """What the training depends on."""
        stores = {"store": self.store.sha256, "dev": self.dev.sha256}
        return Identity(self.section, {self.section: self.config, **stores, **self.checkpoint.parts})

    def lookup(self, out: Path) -> TokenLookup:
        """The checkpoint's token lookup, or one fitted on the training rows and kept in `out`."""
        return self.checkpoint.lookup or fit_lookup(self.store, self.checkpoint.layer, out / LOOKUP)

    def measure(self, lookup: TokenLookup) -> Measure:
        """The held-out scores that choose the best step, on `MEASURE_ROWS` rows of the dev store."""
        found, config = self.checkpoint, self.config
        given = (self.dev, found.language, found.layer, lookup, MEASURE_ROWS)
        variance, limit = float(self.store.variance(found.layer)["value"]), config.max_tokens
        return held_out_measure(*given, variance=variance, probes=found.probes, max_tokens=limit, seed=config.seed)

    def leave(self, out: Path, pair: Pair, lookup: TokenLookup) -> None:
        """Assemble the new checkpoint: another pair with everything else of the old one."""
        found = self.checkpoint
        into = self.into or out / CHECKPOINT
        files: dict[str, Any] = {"target_dir": target_along(found), "lookup": lookup, "probes": found.probes}
        save_checkpoint(into, *pair, self.contract, marker=found.marker, **files)


@dataclass(frozen=True, kw_only=True)
class RL(FromCheckpoint):
    """Train the pair of a checkpoint by RL.

    What a checkpoint holds as differences from its target is trained on, adapters as adapters; a whole model in full.
    """

    section = "rl"
    config: RLConfig

    def work(self, out: Path, made_by: str) -> dict[str, Any]:
        """Train both roles into OUT/av and OUT/ar and assemble the checkpoint; returns what was counted."""
        found, lookup = self.checkpoint, self.lookup(out)
        pair = pair_of(found)
        known = Knowledge(found.language, lookup, found.target)
        given = (self.config, *pair, found.layer, self.store, self.measure(lookup), out)
        result = train_rl(*given, made_by=made_by, knowledge=known)
        self.leave(out, pair, lookup)
        return asdict(result)
