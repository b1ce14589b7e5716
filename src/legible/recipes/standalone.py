"""The last stages outside of a run: each leaves a checkpoint, or measures one."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from legible import languages
from legible.config import CaptureConfig, EvalConfig, RLConfig, SFTConfig
from legible.contract import LegibleExtra, TargetRecord
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.run import Battery, evaluate_checkpoint
from legible.models.target import Target
from legible.probes.probes import ProbeSet
from legible.reading.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from legible.recipes import stages
from legible.recipes.pair import Pair, adapted_pair, describe, load_pair
from legible.recipes.sources import Source
from legible.recipes.stages import probes_file

LARGEST = 20_000  # documents drawn from a corpus for an evaluation
COPIED = 64 * 2**20  # bytes of weights: a local target up to this size is copied into its checkpoints


def sft(target: Target, layer: int, store: Path, teach_file: Path, config: SFTConfig, out: Path) -> dict[str, Any]:
    """Warm-start a pair and leave it as OUT/checkpoint; returns what was counted."""
    teacher = _teacher_of(teach_file)
    language = teacher if teacher in languages.names() else None
    counts = stages.warm_start(target, layer, store, teach_file, config, out, language=language)
    pair = load_pair(out, target, config)
    extra = describe(
        stages.open_store(store),
        layer,
        target=TargetRecord(id=target.name, sha256=target.sha256()),
        teacher=teacher,
        language=language,
        corpus=None,
        seed=config.seed,
    )
    lookup = stages.fit_lookup(store, layer, out / "lookup.safetensors")
    save_checkpoint(
        out / "checkpoint",
        pair.verbalizer,
        pair.reconstructor,
        extra,
        target_dir=copied_target(target.name),
        lookup=lookup,
        probes=ProbeSet.load(beside) if (beside := probes_file(teach_file)).exists() else None,
    )
    return counts


def rl(name: str, store: Path, dev: Path, config: RLConfig, out: Path) -> dict[str, Any]:
    """Train the pair of a checkpoint by RL and leave the best as OUT/checkpoint; returns what was counted.

    A warm start's adapters, which lie beside its checkpoint, are trained on; any other pair is trained in full.

    Raises:
        UsageError: a checkpoint without reconstructor, or a store without its layer.
    """
    found = load_checkpoint(name)
    if found.reconstructor is None:
        raise UsageError(f"{name} has no reconstructor (ar/): the reward needs one.\n  Train both with legible sft.")
    variance = float(stages.open_store(store).variance(found.layer)["value"])
    lookup = found.lookup or stages.fit_lookup(store, found.layer, out / "lookup.safetensors")
    pair = adapted_pair(found.path.parent, found.target, found.layer) or Pair(found.verbalizer, found.reconstructor)
    language = found.language.name if found.language is not None else None
    counts = stages.joint_training(
        pair,
        found.layer,
        store,
        dev,
        config,
        out,
        language=language,
        lookup=lookup,
        variance=variance,
        target=found.target,
    )
    extra = found.contract.legible or LegibleExtra(target=TargetRecord(id=found.target.name))
    extra = extra.model_copy(update={"parents": [*extra.parents, name], "seed": config.seed, "metrics": {}})
    save_checkpoint(
        out / "checkpoint",
        pair.verbalizer,
        pair.reconstructor,
        extra,
        target_dir=copied_target(found.target.name),
        lookup=lookup,
        probes=found.probes,
    )
    return counts


def copied_target(name: str) -> Path | None:
    """The folder to copy into a checkpoint: a local target of at most `COPIED` bytes; None for others."""
    folder = Path(name)
    if not folder.is_dir() or sum(file.stat().st_size for file in folder.glob("*.safetensors")) > COPIED:
        return None
    return folder


def _teacher_of(teach_file: Path) -> str | None:
    beside = teach_file.with_name(teach_file.name + ".meta.json")
    return str(json.loads(beside.read_text(encoding="utf-8"))["teacher"]) if beside.exists() else None


def evaluate(
    checkpoint: Checkpoint,
    name: str,
    config: EvalConfig,
    corpus: str | None = None,
    *,
    battery: Battery | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint on fresh held-out documents.

    Args:
        checkpoint: what is measured.
        name: what the report calls it.
        config: how much, and the seed that draws the documents.
        corpus: where they come from; absent: the world for the world's, the contract's corpus for others.
        battery: measures the control battery too (`legible.recipes.controls`).

    Raises:
        UsageError: a checkpoint of a corpus that is not there, and no `corpus` given.
    """
    capture_config, documents, pool = held_out_documents(checkpoint, name, config, corpus)
    return evaluate_checkpoint(
        checkpoint,
        name=name,
        config=config,
        capture=capture_config,
        documents=documents,
        pool=pool,
        progress=lambda stage: print(f"evaluate: {stage}", file=sys.stderr, flush=True),
        battery=battery,
    )


def held_out_documents(
    checkpoint: Checkpoint, name: str, config: EvalConfig, corpus: str | None
) -> tuple[CaptureConfig, list[Document] | None, list[Document]]:
    """Which positions a checkpoint is read at, the documents to read, and others for probes.

    Arguments and errors are those of `evaluate`. No documents (None) where the language writes its own.
    """
    extra = checkpoint.contract.legible
    positions = extra.variance.positions if extra and extra.variance else ""
    capture_config = CaptureConfig.from_positions(positions, layers=(checkpoint.layer,))
    language = checkpoint.language
    if corpus is None and language is not None and language.documents("test", config.seed, 0) is not None:
        return capture_config, None, []
    if corpus is None:
        corpus = extra.corpus if extra else None
        if corpus is None or not Path(corpus).is_file():
            raise UsageError(
                f"{name} was trained on the corpus {corpus!r}, which is not here.\n"
                "  Give documents to evaluate on: --corpus FILE"
            )
    drawn = Source(corpus).documents("test", LARGEST)
    order = np.random.default_rng([config.seed, 3]).permutation(len(drawn)).tolist()
    pool = [drawn[i] for i in order[config.documents :]] + Source(corpus).documents("dev", LARGEST)
    return capture_config, [drawn[i] for i in order[: config.documents]], pool
