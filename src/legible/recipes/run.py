"""A whole run, stage by stage, into one directory; run again, it goes on where it stopped.

    config.json  run.json  corpus/  target/  target_report.json  store/  teach/  sft/  rl/  checkpoint/
    report.json  report.html  done/

A stage that is whole has a file in done/. Everything but run.json is a function of config.json (and the thread
count): two runs of one configuration on one machine are equal bit for bit.
"""

import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from legible.config import RunConfig, load_config, save_config
from legible.contract import TargetRecord
from legible.documents import Document, Split
from legible.errors import ConfigError, UsageError
from legible.evaluate.report import write_report
from legible.fileio import write_json
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.progress import line_progress
from legible.reading.calibration import CalibratorPair
from legible.reading.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from legible.reading.reader import Reader, Reading
from legible.recipes import stages, standalone
from legible.recipes.calibrate import calibrate_folder, summary_lines
from legible.recipes.pair import adapted_pair, describe, load_pair
from legible.recipes.record import RunRecord, differences, figures
from legible.recipes.sources import Source, language_of, read_documents, write_documents
from legible.teachers import make_teacher

WORLD_TARGET = "legible-world"
SHOWN = 16  # tokens of one held-out document that the report shows


class Run:
    """A configuration and the directory it fills: where everything lies."""

    def __init__(self, config: RunConfig, out: Path) -> None:
        self.config = config
        self.out = out
        self.train_store = out / "store" / "train"
        self.dev_store = out / "store" / "dev"
        self.lookup = out / "lookup.safetensors"
        self.probes = out / "probes.safetensors"

    @property
    def language(self) -> str | None:
        """Who knows the facts of the texts: the world of its stories, `facts` of any English text it was taught in."""
        return language_of(self.config.teach.teacher, self.config.corpus)

    def source(self, seed: int) -> Source:
        """Where the documents of this seed come from."""
        return Source(self.config.corpus, seed, self.language or Source.language)

    @cached_property
    def target(self) -> Target:
        """The model that is read, loaded and checked once a process."""
        config = self.config
        if config.target is None:
            found = stages.open_target(str(self.out / "target"), layers=(config.layer,))
            found.name = WORLD_TARGET  # not the path: stores of two runs must be equal
            return found
        return stages.open_target(
            config.target,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            layers=config.capture.layers,
        )

    def documents(self, split: Split) -> list[Document]:
        """The documents of a split, as the corpus stage wrote them."""
        return read_documents(self.out / "corpus" / f"{split}.jsonl")

    def teach_file(self, split: str) -> Path:
        """The teacher's file of a split."""
        return self.out / "teach" / f"{split}.jsonl"


def run(config: RunConfig, out: Path) -> dict[str, Any]:
    """Carry out every stage that is not finished yet.

    Args:
        config: the whole run; see `legible.recipes`.
        out: its directory; made if it is not there.

    Returns:
        What OUT/report.json holds.

    Raises:
        ConfigError: `out` holds a run of another configuration.
        UsageError: a target, corpus or layer that does not fit.
        LegibleError: a stage failed; the message says what to do, and the same command goes on from there.
    """
    out = Path(out)
    _claim(config, out)
    stages.use_threads(config.threads)
    record = RunRecord(out / "run.json")
    this = Run(config, out)
    for name, work in STAGES:
        done = out / "done" / name
        if done.exists():
            _say(f"[{name}] done before")
            continue
        _say(f"[{name}]")
        with record.stage(name):
            work(this)
        write_json(done, {"stage": name})
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def _pretrain(this: Run) -> None:
    if this.config.target is None:
        stages.pretrain(this.config.pretrain, this.out / "target")
    _ = this.target  # a layer out of range or an unsupported model must fail here, not after hours
    make_teacher(this.config.teach)  # so must an unknown teacher or a missing key


def _corpus(this: Run) -> None:
    config = this.config
    source = this.source(config.seed)
    counts: dict[Split, int] = {"train": config.train_documents, "dev": config.dev_documents}
    for split, count in counts.items():
        write_documents(this.out / "corpus" / f"{split}.jsonl", source.documents(split, count))


def _capture(this: Run) -> None:
    stores: dict[Split, Path] = {"train": this.train_store, "dev": this.dev_store}
    for split, store in stores.items():
        documents = this.documents(split)
        shown = line_progress(f"capture {split}", len(documents))
        stages.capture(this.target, documents, this.config.capture, store, shown)
    stages.fit_lookup(this.train_store, this.config.layer, this.lookup)


def _report_target(this: Run) -> None:
    """What there is to read, judged on test documents: in the world those of held-out wordings and combinations."""
    if this.language is None:
        return  # nobody knows the facts of the text, so there is no probe to fit
    config = this.config
    held_out = this.out / "store" / "test"
    documents = this.source(config.evaluate.seed).documents("test", config.evaluate.documents)
    stages.capture(this.target, documents, config.capture, held_out, line_progress("capture test", len(documents)))
    report = stages.report_target(this.target, this.train_store, held_out, config.layer, this.language, config.seed)
    write_json(this.out / "target_report.json", report)


def _teach(this: Run) -> None:
    stages.teach(
        this.train_store,
        this.config.teach,
        this.teach_file("train"),
        layer=this.config.layer,
        language=this.language,
        probes=this.probes,
        progress=line_progress("teach"),
    )


def _sft(this: Run) -> None:
    config, out = this.config, this.out / "sft"
    texts = this.teach_file("train")
    stages.warm_start(this.target, config.layer, this.train_store, texts, config.sft, out, language=this.language)
    _save(this, out, out / "checkpoint")


def _rl(this: Run) -> None:
    config = this.config
    warm = this.out / "sft"
    stages.joint_training(
        adapted_pair(warm, this.target, config.layer) or load_pair(warm, this.target, config.sft),
        config.layer,
        this.train_store,
        this.dev_store,
        config.rl,
        this.out / "rl",
        language=this.language,
        lookup=TokenLookup.load(this.lookup),
        variance=float(stages.open_store(this.train_store).variance(config.layer)["value"]),
        target=this.target,
        probes=this.probes,
    )


def _checkpoint(this: Run) -> None:
    _save(this, this.out / "rl", this.out / "checkpoint")


def _save(
    this: Run,
    folder: Path,
    out: Path,
    *,
    metrics: dict[str, Any] | None = None,
    calibrator: CalibratorPair | None = None,
) -> None:
    """Assemble a checkpoint from the roles in `folder`."""
    config = this.config
    pair = load_pair(folder, this.target, config.sft)
    own = this.out / "target" if config.target is None else standalone.copied_target(config.target)
    extra = describe(
        stages.open_store(this.train_store),
        config.layer,
        target=TargetRecord(id=this.target.name, revision=config.revision, sha256=this.target.sha256()),
        teacher=config.teach.teacher,
        language=this.language,
        corpus=config.corpus,
        seed=config.seed,
        metrics=metrics,
    )
    save_checkpoint(
        out,
        pair.verbalizer,
        pair.reconstructor,
        extra,
        target_dir=own,
        lookup=TokenLookup.load(this.lookup),
        probes=ProbeSet.load(this.probes) if this.probes.exists() else None,
        calibrator=calibrator,
    )


def _calibrate(this: Run) -> None:
    """Fit the calibrator behind p_true; a run where nothing can be calibrated goes on without and says why."""
    folder = this.out / "checkpoint"
    found = load_checkpoint(folder)
    try:
        pair = calibrate_folder(found, str(folder), this.config.calibrate, corpus=this.config.corpus)
    except UsageError as error:
        _say(f"no calibrator, p_true stays null: {error}")
        return
    _say("\n".join(summary_lines(pair)))


def _evaluate(this: Run) -> None:
    found = load_checkpoint(this.out / "checkpoint")
    evaluation = standalone.evaluate(found, "checkpoint", this.config.evaluate, this.config.corpus)
    _save(this, this.out / "rl", this.out / "checkpoint", metrics=figures(evaluation), calibrator=found.calibrator)
    write_json(this.out / "evaluation.json", {**evaluation, "readings": [r.as_dict() for r in _shown(this, found)]})


def _shown(this: Run, checkpoint: Checkpoint) -> list[Reading]:
    """Readings of one held-out document, for the report."""
    document = this.source(this.config.evaluate.seed).documents("test", 1)[0]
    reader = Reader(checkpoint, "checkpoint")
    n = len(reader.checkpoint.target.encode(document.text).ids)
    first = min(this.config.capture.min_pos, n - 1)
    step = max(1, (n - first) // SHOWN)
    return reader.read_document(document, positions=f"{first}::{step}")


def _report(this: Run) -> None:
    """report.json is the evaluation with everything it stands on beside it; report.html shows the same."""
    report = json.loads((this.out / "evaluation.json").read_text(encoding="utf-8"))
    for name, path in (("target", "target_report.json"), ("sft", "sft/summary.json"), ("rl", "rl/summary.json")):
        file = this.out / path
        report[name] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    report["config"] = this.config.model_dump(mode="json")
    write_json(this.out / "report.json", report)
    write_report(this.out / "report.html", report, this.out)


STAGES: tuple[tuple[str, Callable[[Run], None]], ...] = (
    ("target", _pretrain),
    ("corpus", _corpus),
    ("capture", _capture),
    ("target_report", _report_target),
    ("teach", _teach),
    ("sft", _sft),
    ("rl", _rl),
    ("checkpoint", _checkpoint),
    ("calibrate", _calibrate),
    ("evaluate", _evaluate),
    ("report", _report),
)


def _claim(config: RunConfig, out: Path) -> None:
    path = out / "config.json"
    if not path.exists():
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty and not a run: it has no config.json.\n  Choose another --out.")
        if config.corpus is not None and not Path(config.corpus).is_file():
            raise UsageError(f"no corpus at {config.corpus}.\n  Check the path given with --corpus.")
        save_config(config, path)
        return
    before = load_config(path)
    if before != config:
        changed = differences(before.model_dump(), config.model_dump())
        raise ConfigError(
            f"{out} holds a run of another configuration; it differs in {', '.join(changed)}.\n"
            "  Runs are resumed only under their own configuration. Choose another --out, or go on with the old one:\n"
            f"  legible train {path} --out {out}"
        )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
