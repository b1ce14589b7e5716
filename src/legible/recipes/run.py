"""A whole run, stage by stage, into one directory; run again, it resumes.

    config.json  identity.json  run.json  texts.jsonl  corpus/  target/  target_report.json  store/  teach/  sft/  rl/
    checkpoint/  report.json  report.html  done/

A stage that is whole has a file in done/. Everything but run.json is a function of config.json (and the thread
count): two runs of one configuration on one machine are equal bit for bit.
"""

import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from legible.config import RunConfig, save_config
from legible.contract import TargetRecord
from legible.corpora.own import own_texts
from legible.data.store import Store
from legible.documents import Document, Split
from legible.errors import UsageError
from legible.evaluate.measure import measure_names
from legible.evaluate.report import write_report
from legible.fileio import write_json
from legible.identity import Identity, claim, finish
from legible.models.target import Target
from legible.progress import line_progress
from legible.reading.checkpoint import Checkpoint, store_metrics
from legible.reading.opening import load_checkpoint
from legible.reading.reader import Reader, Reading
from legible.recipes.calibrate import summary_lines
from legible.recipes.inputs import open_store, open_target, use_threads
from legible.recipes.pair import copied_target, describe
from legible.recipes.record import RunRecord, figures
from legible.recipes.sources import DocumentSource, language_of, read_documents, write_documents
from legible.recipes.stages.calibrate import Calibrate
from legible.recipes.stages.measuring import Evaluate
from legible.recipes.stages.rows import Capture, Teach, fit_lookup
from legible.recipes.stages.targets import Pretrain, Probe
from legible.recipes.stages.training import CHECKPOINT, RL, SFT
from legible.teachers import make_teacher
from legible.train.rl import check_select_by
from legible.train.sft import check_kept_blocks

WORLD_TARGET = "legible-world"
SHOWN = 16  # tokens of one held-out document that the report shows


class Run:
    """A configuration and the directory it fills: where everything lies."""

    def __init__(self, config: RunConfig, out: Path) -> None:
        self.config = config
        self.out = out
        self.stores: dict[Split, Path] = {"train": out / "store" / "train", "dev": out / "store" / "dev"}
        self.lookup = out / "lookup.safetensors"
        self.probes = out / "probes.safetensors"
        self.teach_file = out / "teach" / "train.jsonl"

    @property
    def corpus(self) -> str | None:
        """The file of documents: the user's, or that of the run's own texts; None: a language writes its own."""
        return str(self.out / "texts.jsonl") if self.config.texts is not None else self.config.corpus

    def check(self) -> None:
        """Refuse now what would fail after hours.

        Raises:
            UsageError: no such corpus, or `rl.select_by` is no measure of this run.
        """
        config = self.config
        if config.corpus is not None and not (self.out / "config.json").exists() and not Path(config.corpus).is_file():
            raise UsageError(f"no corpus at {config.corpus}.\n  Check the path given with --corpus.")
        names = measure_names(language=self.language is not None, probes=config.teach.limit == "probes")
        check_select_by("rl", config.rl, names)

    @property
    def language(self) -> str | None:
        """Who knows the facts of the texts: the world of its stories, `text` of any text it was taught in."""
        return language_of(self.config.teach.teacher, self.corpus)

    def source(self, seed: int) -> DocumentSource:
        """Where the documents of this seed come from."""
        return DocumentSource(self.corpus, seed, self.language or DocumentSource.language)

    @cached_property
    def target(self) -> Target:
        """The model that is read, loaded and checked once a process."""
        config = self.config
        if config.target is None:
            found = open_target(str(self.out / "target"), layers=(config.layer,), place=config.placement)
            found.name = WORLD_TARGET  # not the path: stores of two runs must be equal
            return found
        return open_target(
            config.target,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            layers=config.capture.layers,
            place=config.placement,
        )

    def documents(self, split: Split) -> list[Document]:
        """The documents of a split, as the corpus stage wrote them."""
        return read_documents(self.out / "corpus" / f"{split}.jsonl")

    def store(self, split: Split) -> Store:
        """The activations of a split, as the capture stage left them."""
        return open_store(self.stores[split])


def run(config: RunConfig, out: Path) -> dict[str, Any]:
    """Carry out every stage that is not finished yet.

    Args:
        config: the whole run; see `legible.recipes`.
        out: its directory; made if it is not there.

    Returns:
        What OUT/report.json holds.

    Raises:
        UsageError: `out` holds something else, or a target, corpus, layer or measure does not fit.
        LegibleError: a stage failed; the message says what to do, and the same command resumes there.
    """
    this = Run(config, Path(out))
    this.check()
    identity = Identity("train", config.deciding())
    claimed = claim(this.out, identity)
    if claimed == "new":
        save_config(config, this.out / "config.json")
    use_threads(config.threads)
    record = RunRecord(this.out / "run.json", config.placement)
    for name, work in STAGES:
        done = this.out / "done" / name
        if done.exists():
            _say(f"[{name}] done before")
            continue
        _say(f"[{name}]")
        with record.stage(name):
            work(this)
        write_json(done, {"stage": name})
    if claimed != "finished":
        finish(this.out, identity)
    report: dict[str, Any] = json.loads((this.out / "report.json").read_text(encoding="utf-8"))
    return report


def _target(this: Run) -> None:
    if this.config.target is None:
        Pretrain(this.config.pretrain, this.config.placement).run(this.out / "target")
    check_kept_blocks(this.config.sft, this.target)  # as a layer out of range must fail here, not after hours
    make_teacher(this.config.teach)  # so must an unknown teacher or a missing key


def _texts(this: Run) -> None:
    if this.config.texts is not None and this.corpus is not None:
        write_documents(Path(this.corpus), own_texts(this.config.texts, this.target))


def _corpus(this: Run) -> None:
    config = this.config
    source = this.source(config.seed)
    documents: dict[Split, list[Document]] = {
        "train": source.training(config.train_documents, config.short_documents),
        "dev": source.documents("dev", config.dev_documents),
    }
    for split, found in documents.items():
        write_documents(this.out / "corpus" / f"{split}.jsonl", found)


def _capture(this: Run) -> None:
    for split, store in this.stores.items():
        documents = this.documents(split)
        shown = line_progress(f"capture {split}", len(documents))
        Capture(this.target, documents, this.config.capture).run(store, shown)
    fit_lookup(this.store("train"), this.config.layer, this.lookup)


def _report_target(this: Run) -> None:
    """What there is to read, judged on test documents: in the world those of held-out wordings and combinations."""
    if this.language is None or this.config.texts is not None:
        return  # the facts of the text are unknown; or the probes that limit the teacher say it
    config = this.config
    documents = this.source(config.evaluate.seed).documents("test", config.evaluate.texts)
    shown = line_progress("capture test", len(documents))
    held_out = Capture(this.target, documents, config.capture).run(this.out / "store" / "test", shown)
    probe = Probe(this.target, this.store("train"), held_out, config.layer, this.language, config.seed)
    write_json(this.out / "target_report.json", probe.run())


def _teach(this: Run) -> None:
    teach = Teach(
        this.store("train"), this.config.teach, this.config.layer, this.language, this.probes, this.config.placement
    )
    teach.run(this.teach_file, line_progress("teach"))


def _sft(this: Run) -> None:
    config, target, store = this.config, this.target, this.store("train")
    named = TargetRecord(id=target.name, revision=config.revision, sha256=target.sha256())
    contract = describe(
        store,
        config.layer,
        target=named,
        teacher=config.teach.teacher,
        language=this.language,
        corpus=this.corpus,
        seed=config.seed,
        short_documents=config.short_documents,
    )
    own = this.out / "target" if config.target is None else copied_target(config.target)
    given = (target, config.layer, store, this.teach_file, config.sft, contract)
    SFT(*given, target_dir=own, lookup=this.lookup, probes=this.probes).run(this.out / "sft")


def _rl(this: Run) -> None:
    vars(this).pop("target", None)  # the warm start brings its own: not two in memory
    warm = load_checkpoint(this.out / "sft" / CHECKPOINT, place=this.config.placement, train=True)
    assert warm.contract.legible is not None
    contract, into, train = warm.contract.legible, this.out / CHECKPOINT, this.store("train")
    stage = RL(checkpoint=warm, store=train, dev=this.store("dev"), contract=contract, config=this.config.rl, into=into)
    stage.run(this.out / "rl")


def _calibrate(this: Run) -> None:
    """Fit the calibrator behind p_true; a run where nothing can be calibrated continues without one and says why."""
    folder = this.out / CHECKPOINT
    found = load_checkpoint(folder, place=this.config.placement)
    try:
        pair = Calibrate(found, str(folder), this.config.calibrate, this.corpus).run()
    except UsageError as error:
        _say(f"no calibrator, p_true stays null: {error}")
        return
    _say("\n".join(summary_lines(pair)))


def _evaluate(this: Run) -> None:
    found = load_checkpoint(this.out / CHECKPOINT, place=this.config.placement)
    evaluation = Evaluate(found, "checkpoint", this.config.evaluate, this.corpus).run()
    store_metrics(found, figures(evaluation))
    write_json(this.out / "evaluation.json", {**evaluation, "readings": [r.as_dict() for r in _shown(this, found)]})


def _shown(this: Run, checkpoint: Checkpoint) -> list[Reading]:
    """Readings of one held-out document, for the report."""
    document = this.source(this.config.evaluate.seed).documents("test", 1)[0]
    reader = Reader(checkpoint, "checkpoint")
    n = len(reader.checkpoint.target.encode(document.text).ids)
    first = min(this.config.capture.min_pos, n - 1)
    step = max(1, (n - first) // SHOWN)
    return reader.read(document, positions=f"{first}::{step}")


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
    ("target", _target),
    ("texts", _texts),
    ("corpus", _corpus),
    ("capture", _capture),
    ("target_report", _report_target),
    ("teach", _teach),
    ("sft", _sft),
    ("rl", _rl),
    ("calibrate", _calibrate),
    ("evaluate", _evaluate),
    ("report", _report),
)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
