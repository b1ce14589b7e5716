"""`legible evaluate --full`: train what the control battery needs, then evaluate with it.

The text-only writer and the second reconstructor train on the rows that the checkpoint's pair was warm-started on: a
run's own, or, for a checkpoint without its run, rows made again by the recipe's capture and teacher.

    CONTROLS/rows/  CONTROLS/STEPS-steps/{writer,second}/

Both trainings are resumable; the same command resumes.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from legible import languages
from legible.config import CaptureConfig, EvalConfig, RunConfig, SFTConfig, load_config
from legible.errors import UsageError
from legible.evaluate.battery.parts import Taught, Trained
from legible.evaluate.battery.rows import battery
from legible.evaluate.bench import Bench
from legible.fileio import cache_dir, file_sha256
from legible.identity import Identity, once
from legible.languages.base import Row
from legible.models.placement import precision_part, trained_at
from legible.models.reconstructor import Reconstructor
from legible.progress import line_progress
from legible.prompts import plain_reconstructor_prompt
from legible.reading.checkpoint import Checkpoint
from legible.recipes import small, tiny
from legible.recipes.inputs import open_store
from legible.recipes.sources import DocumentSource
from legible.recipes.stages.measuring import Evaluate
from legible.recipes.stages.rows import Capture, Teach
from legible.train.second_reconstructor import train_second_reconstructor
from legible.train.text_writer import TextWriter, read_record, train_text_writer

FOLDER = "controls"
UPWARDS = 3  # folders above a checkpoint that may be its run's


@dataclass(frozen=True)
class _Rows:
    """Where the warm start's rows are, and the configuration that it had."""

    store: Path
    teach_file: Path
    sft: SFTConfig
    origin: str


def evaluate_fully(
    checkpoint: Checkpoint,
    name: str,
    config: EvalConfig,
    corpus: str | None = None,
    *,
    folder: Path | None = None,
    steps: int | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint on fresh held-out documents, with the control battery.

    Args:
        checkpoint, name, config, corpus: as for `Evaluate`.
        folder: where the controls are kept; absent: the run's `controls/`, or a cache folder of the checkpoint.
        steps: of the controls' training; absent: the warm start's. 0 trains none, their rows are then n/a.

    Returns:
        The evaluation's object with `controls`: one object a control, see `legible.evaluate.battery.parts.scored`.

    Raises:
        UsageError: negative steps, or a folder that holds the controls of another checkpoint.
    """
    if steps is not None and steps < 0:
        raise UsageError(f"--control-steps is {steps}, expected 0 or more (0 trains no control).")
    trained = train_controls(checkpoint, folder or controls_folder(checkpoint), steps)

    def measure(bench: Bench, *measured: Any) -> list[dict[str, Any]]:
        return battery(
            checkpoint.target,
            checkpoint.layer,
            trained,
            bench,
            *measured,
            max_tokens=config.max_tokens,
            seed=config.seed,
            progress=lambda control: _say(f"evaluate: control: {control}"),
        )

    def write(writer: TextWriter, rows: Sequence[Row]) -> list[str | None]:
        return [text for text, _ in writer.write(rows, max_tokens=config.max_tokens)]

    writes = partial(write, trained.writer) if trained.writer is not None else None
    return Evaluate(checkpoint, name, config, corpus, battery=measure, writer=writes).run()


def controls_folder(checkpoint: Checkpoint, kind: str = FOLDER) -> Path:
    """Where a checkpoint's controls are kept: `controls/` of its run, or a cache folder named by its weights.

    Args:
        kind: what the folder is called; another one keeps other things.
    """
    run = run_of(checkpoint)
    if run is not None:
        return run / kind
    return cache_dir() / kind / Identity(kind, checkpoint.parts).digest


def run_of(checkpoint: Checkpoint) -> Path | None:
    """The run's folder that a checkpoint lies in: it holds the store and teacher's text of the same target."""
    path = checkpoint.path.resolve()
    for folder in (path, *path.parents[:UPWARDS]):
        store, teach = folder / "store" / "train", folder / "teach" / "train.jsonl"
        if not ((folder / "config.json").is_file() and store.is_dir() and teach.is_file()):
            continue
        found = open_store(store)
        if found.origin.get("sha256") == checkpoint.target.sha256() and checkpoint.layer in found.layers:
            return folder
    return None


def train_controls(checkpoint: Checkpoint, folder: Path, steps: int | None = None) -> Trained:
    """The trained parts of the battery, made or resumed in `folder`.

    Args:
        checkpoint: whose controls.
        folder: where they are kept.
        steps: as for `evaluate_fully`.

    Returns:
        The parts; those that could not be made say why.
    """
    rows = _rows(checkpoint, folder)
    if isinstance(rows, str):
        _say(f"evaluate: {rows}")
        return Trained(why_not=rows)
    store = open_store(rows.store)
    taught = Taught(store, rows.teach_file, rows.origin, rows.sft.steps)
    config = rows.sft if steps is None else rows.sft.model_copy(update={"steps": steps})
    if not config.steps:
        return Trained(taught, why_not="not trained (--control-steps 0)")
    out = folder / f"{config.steps}-steps"
    target = checkpoint.target
    job = (config, target, checkpoint.layer, store, rows.teach_file)
    parts = {"sft": config, "target": target.sha256(), "layer": checkpoint.layer}
    parts |= precision_part(target.model)
    parts |= {"store": store.sha256, "teach": file_sha256(rows.teach_file)}
    made = Identity("evaluate --full", parts)
    folder = out / "writer"
    once(folder, made, lambda: train_text_writer(*job, folder, made_by=made.digest))
    other, speaks = out / "second", checkpoint.language
    said = Identity(made.stage, {**parts, "second": True, "language": speaks.name if speaks is not None else None})
    once(other, said, lambda: train_second_reconstructor(*job, other, made_by=said.digest, language=speaks))
    prompt = plain_reconstructor_prompt(target.tokenizer)
    where: dict[str, Any] = {"target": target, "layer": checkpoint.layer, "place": trained_at(target.model)}
    where["blocks"] = config.reconstructor_blocks
    second = Reconstructor.load(other / "second", prompt, **where)
    return Trained(taught, TextWriter.load(folder, target, config), read_record(folder), second)


def _rows(checkpoint: Checkpoint, folder: Path) -> _Rows | str:
    """The rows of the warm start, or why there are none."""
    run = run_of(checkpoint)
    if run is not None:
        config = load_config(run / "config.json")
        return _Rows(run / "store" / "train", run / "teach" / "train.jsonl", config.sft, "the run's own")
    config_or_reason = _recipe(checkpoint)
    if isinstance(config_or_reason, str):
        return config_or_reason
    return _made_again(checkpoint, config_or_reason, folder / "rows")


def _recipe(checkpoint: Checkpoint) -> RunConfig | str:
    """The recipe that makes the rows of a checkpoint without its run, or why nothing can."""
    extra = checkpoint.contract.legible
    if extra is None or extra.variance is None or extra.variance.documents is None:
        return "the training rows are not here, and the contract does not say how they were captured"
    seed = extra.seed or 0
    language = checkpoint.language
    if language is not None and language.documents("train", seed, 0) is not None:
        config = tiny(seed=seed)
        config = config.model_copy(update={"teach": config.teach.model_copy(update={"teacher": language.name})})
    elif extra.teacher in languages.names() and extra.corpus is not None and Path(extra.corpus).is_file():
        config = small(checkpoint.target.name, extra.corpus, checkpoint.layer, str(extra.teacher), seed)
    else:
        return f"the training rows are not here, and the teacher {extra.teacher!r} cannot write them again from here"
    capture = CaptureConfig.from_positions(extra.variance.positions, layers=(checkpoint.layer,), seed=seed)
    short = extra.variance.short_documents or 0
    trained = {"train_documents": extra.variance.documents - short, "short_documents": short}
    return config.model_copy(update={"capture": capture, **trained})


def _made_again(checkpoint: Checkpoint, config: RunConfig, folder: Path) -> _Rows:
    """Capture and teach the training rows of a checkpoint again."""
    store, teach_file = folder / "store", folder / "teach.jsonl"
    language = checkpoint.language.name if checkpoint.language is not None else None
    source = DocumentSource(config.corpus, config.seed, language or DocumentSource.language)
    documents = source.training(config.train_documents, config.short_documents)
    shown = line_progress("capture controls' rows", len(documents))
    captured = Capture(checkpoint.target, documents, config.capture).run(store, shown)
    teach = Teach(captured, config.teach, checkpoint.layer, language, folder / "probes.safetensors")
    teach.run(teach_file, line_progress("teach controls' rows"))
    return _Rows(store, teach_file, config.sft, f"made again by the recipe {config.recipe}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
