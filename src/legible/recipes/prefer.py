"""Offline preference training outside of a run: pairs of a checkpoint's own explanations, a better checkpoint."""

import json
from pathlib import Path
from typing import Any

from legible.config import PreferConfig
from legible.contract import LegibleExtra, TargetRecord
from legible.data.store import Store
from legible.errors import UsageError
from legible.evaluate.measure import held_out_measure
from legible.models.reconstructor import Reconstructor
from legible.progress import line_progress
from legible.reading.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from legible.recipes import stages
from legible.recipes.standalone import copied_target
from legible.train.loop import fingerprint
from legible.train.preference.candidates import Sampler, sample_candidates
from legible.train.preference.pairs import Pair, pick_pairs, write_pairs
from legible.train.preference.training import train_preference
from legible.train.rl import weights_sha256


def prefer(
    name: str, store: Path, dev: Path, config: PreferConfig, out: Path, *, pairs: Path | None = None
) -> dict[str, Any]:
    """Train the verbalizer of a checkpoint on ranked explanations and leave the best pair as OUT/checkpoint.

    Args:
        name: the checkpoint; its verbalizer is the warm start and the reference.
        store: activations of the training split.
        dev: store of other documents: chooses the best step.
        config: the pairs and the training.
        out: folder; work that was interrupted goes on from its last state.
        pairs: folder of the candidates and pairs, which several trainings may share; absent: OUT/pairs.

    Returns:
        What was counted, the pairs under `pairs`.

    Raises:
        UsageError: a checkpoint without reconstructor or, to rank by truth, without language; a changed option.
        TrainingError: no two explanations differ in rank.
    """
    found, reconstructor = _ranking(name, config)
    train = stages.open_store(store)
    made, counts = make_pairs(found, reconstructor, train, config, pairs or out / "pairs")
    lookup = found.lookup or stages.fit_lookup(store, found.layer, out / "lookup.safetensors")
    measure = held_out_measure(
        stages.open_store(dev),
        found.language,
        found.layer,
        lookup,
        stages.MEASURE_ROWS,
        variance=float(train.variance(found.layer)["value"]),
        max_tokens=config.max_tokens,
        seed=config.seed,
    )
    result = train_preference(config, found.verbalizer, reconstructor, found.layer, train, made, measure, out)
    extra = found.contract.legible or LegibleExtra(target=TargetRecord(id=found.target.name))
    save_checkpoint(
        out / "checkpoint",
        found.verbalizer,
        reconstructor,
        extra.model_copy(update={"parents": [*extra.parents, name], "seed": config.seed, "metrics": {}}),
        target_dir=copied_target(found.target.name),
        lookup=lookup,
        probes=found.probes,
    )
    summary = {key: value for key, value in vars(result).items() if key not in ("parse_failures", "skipped_groups")}
    return {**summary, "pairs": counts}


def _ranking(name: str, config: PreferConfig) -> tuple[Checkpoint, Reconstructor]:
    """The checkpoint, and the reconstructor that ranks."""
    found = load_checkpoint(name)
    if found.reconstructor is None:
        raise UsageError(f"{name} has no reconstructor (ar/): nothing ranks.\n  Train both with legible sft.")
    if config.rank_by != "mse" and found.language is None:
        raise UsageError(
            f"--rank-by {config.rank_by} needs a language that decides claims, and {name} has none.\n"
            "  Choose --rank-by mse."
        )
    return found, found.reconstructor


def make_pairs(
    found: Checkpoint, reconstructor: Reconstructor, store: Store, config: PreferConfig, folder: Path
) -> tuple[list[Pair], dict[str, Any]]:
    """Candidates in `folder` (kept, shared by every ranking), and the pairs that the configuration picks from them."""
    made_by = fingerprint(
        weights_sha256(found.verbalizer),
        weights_sha256(reconstructor),
        found.layer,
        len(store),
        json.dumps(store.origin, sort_keys=True, default=str),
        found.language.name if found.language is not None else None,
    )
    sampler = Sampler(
        config,
        found.engine,
        reconstructor,
        store,
        found.layer,
        found.language,
    )
    candidates = sample_candidates(sampler, folder, made_by, line_progress("explanations for pairs"))
    pairs, counts = pick_pairs(candidates, config)
    picked_by = fingerprint(config.rank_by, config.length_window, config.length_balance)[:8]
    write_pairs(folder / f"pairs-{config.rank_by}-{picked_by}.jsonl", pairs, counts)
    return pairs, counts
