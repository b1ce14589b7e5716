"""Plant secrets: two targets trained on from one, in a folder.

    DIR: identity.json  config.json  a/  b/  secrets.json

`secrets.json` says per secret what either side was taught, at which rows of which stories it can be read, and how far
each target holds it by its own words.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.config import AUTO, Placement, SecretsConfig, validated
from legible.contract import git_commit
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.fileio import write_json
from legible.identity import Identity, claim, finish
from legible.languages.world.secrets import SECRETS, SIDES, Plant, make_plant, table
from legible.models.placement import in_full
from legible.models.target import Target
from legible.planted.instances import PlantedFact, asked, belief_report, instances, read_rows
from legible.planted.training import train_side
from legible.reading.checkpoint import Checkpoint
from legible.reading.locate import locate
from legible.reading.shipped import shipped
from legible.recipes.inputs import open_target

MANIFEST = "secrets.json"


@dataclass(frozen=True)
class PlantedPair:
    """A planted pair on disk: its configuration, its manifest and both targets."""

    config: SecretsConfig
    manifest: dict[str, Any]
    targets: dict[str, Target]


def plant(config: SecretsConfig, base: str, out: Path, place: Placement = AUTO) -> dict[str, Any]:
    """Fine-tune both sides from `base` into `out`, ask them what they believe, and write the manifest; resumable.

    Args:
        config: what is planted and how.
        base: a target of the world: its folder, the folder of a run or checkpoint with a target/ in it, or `builtin`.
        out: new, or of the same planting.

    Returns:
        What OUT/secrets.json holds.

    Raises:
        UsageError: `out` holds something else, a base that is not a target of the world, unknown secrets, or no row to
            read them at.
    """
    plants = {side: make_plant(side, config.seed, config.secrets) for side in SIDES}
    folder = _base_folder(base)
    place = in_full(place)
    model = open_target(str(folder), layers=(config.bag_layer,), place=place)
    sha256 = model.sha256()
    identity = Identity("world secrets", {"secrets": config, "base": sha256})
    if claim(out, identity) == "finished":
        return _manifest(out)
    found, sample = _rows_of(model, config)  # before the training: the same rows on every target
    write_json(out / "config.json", {"config": config.model_dump(mode="json"), "base_sha256": sha256})
    for side, taught in plants.items():
        train_side(config, folder, taught, out / side, made_by=identity.digest, place=place)
    targets = {side: Target.load(str(out / side), place=place) for side in SIDES}
    believed, says = {}, {}
    for side, target in targets.items():
        say(f"asking target {side} what it believes")
        says[side] = asked(target, sample.rows, found)
        believed[side] = belief_report(target, side, sample, found, says[side], config)
    manifest = {
        "kind": "legible_secrets",
        "schema_version": 1,
        "base": {"name": base, "sha256": sha256},
        "targets": {side: {"folder": side, "sha256": target.sha256()} for side, target in targets.items()},
        "seed": config.seed,
        "commit": git_commit(),
        "secrets": {
            name: _about(name, plants) | {"believed": {side: report[name] for side, report in believed.items()}}
            for name in plants[SIDES[0]].secrets
        },
        "rows": [
            _place(one, sample) | {"says": {side: answers[i] for side, answers in says.items()}}
            for i, one in enumerate(found)
        ],
    }
    write_json(out / MANIFEST, manifest)
    finish(out, identity)
    return manifest


def open_pair(folder: Path, checkpoint: Checkpoint, place: Placement = AUTO) -> PlantedPair:
    """A planted pair, checked to be made from the target that the checkpoint reads.

    Raises:
        UsageError: nothing planted there, or another base.
    """
    manifest = _manifest(folder)
    config = validated(SecretsConfig, json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"])
    if manifest["base"]["sha256"] != checkpoint.target.sha256():
        raise UsageError(
            f"{folder} was made from the target {manifest['base']['name']} ({manifest['base']['sha256'][:12]}), "
            f"and {checkpoint.path} reads another ({checkpoint.target.sha256()[:12]}).\n"
            f"  Plant secrets in its own target: legible world secrets --target {checkpoint.path} --out DIR"
        )
    sides = manifest["targets"].items()
    targets = {side: Target.load(str(folder / about["folder"]), place=place) for side, about in sides}
    return PlantedPair(config, manifest, targets)


def _rows_of(target: Target, config: SecretsConfig) -> tuple[list[PlantedFact], Sample]:
    sample = read_rows(target, config, config.bag_layer)
    found = instances(sample.rows, config)
    if missing := [name for name in config.secrets if not any(one.secret == name for one in found)]:
        raise UsageError(
            f"no row of {config.documents} stories leaves {', '.join(missing)} to be read.\n  Raise --documents."
        )
    return found, sample


def _about(name: str, plants: dict[str, Plant]) -> dict[str, Any]:
    secret = SECRETS[name]
    return {
        "fact": secret.kind,
        "what": secret.what,
        "given": list(secret.given),
        "values": {side: table(name, side, one.seed) for side, one in plants.items()},
    }


def _place(one: PlantedFact, sample: Sample) -> dict[str, Any]:
    return {"secret": one.secret, "doc_id": sample.doc_ids[one.row], "pos": sample.rows[one.row].pos, **one.values}


def recorded_instances(pair: PlantedPair, sample: Sample) -> list[PlantedFact]:
    """The instances among the rows, proven to be those of the manifest.

    Raises:
        UsageError: other rows than those recorded.
    """
    found = instances(sample.rows, pair.config)
    recorded = [{key: value for key, value in row.items() if key != "says"} for row in pair.manifest["rows"]]
    if [_place(one, sample) for one in found] != recorded:
        raise UsageError(
            "the rows of secrets.json are not those that its configuration gives now.\n"
            "  The usual cause is an edited file, or a planting by another version of Legible. Plant anew."
        )
    return found


def _base_folder(base: str) -> Path:
    path = Path(base)
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        return path
    if (path / "target" / "config.json").is_file():
        return path / "target"
    if path.exists() or shipped(base) is not None:
        folder = locate(base).folder / "target"
        if folder.is_dir():
            return folder
    raise UsageError(
        f"no target at {base}: expected a model folder, a run or checkpoint with a target/ in it, or 'builtin'.\n"
        "  Train one: legible pretrain --out DIR"
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"no {MANIFEST} in {folder}.\n  Plant first: legible world secrets --out {folder}")
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] != "legible_secrets" or found["schema_version"] != 1:
            raise KeyError("kind")
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is no manifest of planted secrets.\n  Plant anew into another folder.") from None
    return found


def say(message: str) -> None:
    """A line of progress on stderr."""
    sys.stderr.write(f"secrets: {message}\n")
    sys.stderr.flush()
