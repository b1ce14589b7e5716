"""The stages of a run, one function each: what the verbs of the command line and `run` both call.

Every function takes the paths it reads and the path it writes, is finished when its output is whole, and goes on
where it stopped when called again.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from threadpoolctl import threadpool_limits

from legible import languages
from legible.config import CaptureConfig, PretrainConfig, RLConfig, SFTConfig, TeachConfig
from legible.data.capture import Progress
from legible.data.capture import capture as run_capture
from legible.data.exchange import Stage as ExchangeStage
from legible.data.exchange import export_parquet
from legible.data.store import Store
from legible.documents import Document
from legible.errors import ConfigError, UsageError
from legible.evaluate.measure import held_out_measure
from legible.evaluate.sample import Sample
from legible.evaluate.target_report import target_report
from legible.languages.base import Language
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.recipes.limits import keep_by_leverage
from legible.recipes.pair import Pair
from legible.teachers import make_teacher, read_taught
from legible.teachers import teach as write_explanations
from legible.teachers.limit import keep_from_probes
from legible.train.rl import train_rl
from legible.train.sft import train_sft
from legible.train.terms.extras import Knowledge
from legible.train.world_target import train_world_target

FIT_ROWS = 20_000  # rows that fit probes and lookups
CHUNK = 4096  # rows in memory at once
LOSS_STORIES = 200  # fresh stories of the target's own training distribution, for its loss
FRESH_SEED = 1_000_000  # seeds of stories that no training has seen
MEASURE_ROWS = 256  # held-out rows that choose the best RL step


def use_threads(threads: int) -> None:
    """Threads of this process; results are bit-identical only at the same number.

    Raises:
        UsageError: fewer than one.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}, expected at least 1.")
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")  # numpy and scipy have threads of their own


def open_target(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False, layers: Sequence[int] = ()
) -> Target:
    """Load a target and prove that the given layers are what they are called.

    Raises:
        UsageError: no such model, pickle weights, or a layer out of range.
        UnsupportedModelError: an unknown family, or a failed self-check.
    """
    target = Target.load(name, revision=revision, trust_remote_code=trust_remote_code)
    for layer in layers:
        target.self_check(layer)
    return target


def open_store(path: Path) -> Store:
    """Open a finished store.

    Raises:
        UsageError: there is nothing at `path`.
        StoreError: it is unfinished or damaged.
    """
    if not path.exists():
        raise UsageError(f"no store at {path}.\n  Make one with legible capture.")
    return Store.open(path)


def pretrain(config: PretrainConfig, out: Path) -> Path:
    """Train the world's target into `out`.

    Raises:
        ConfigError: the future bag's layer is not one of the target's.
    """
    if config.bag_weight > 0 and not 0 <= config.bag_layer < config.n_layers:
        raise ConfigError(
            f"bag_layer {config.bag_layer} is out of range: the target has layers 0 to {config.n_layers - 1}.\n"
            "  Choose another --bag-layer, or --bag-weight 0 for the untreated twin."
        )
    return train_world_target(config, out)


def capture(
    target: Target, documents: Sequence[Document], config: CaptureConfig, out: Path, progress: Progress | None = None
) -> Store:
    """Store the target's activations on the documents.

    Raises:
        UsageError: no document was long enough to read a token from.
    """
    store = run_capture(target, documents, config, out, progress=progress)
    if not len(store):
        raise UsageError(
            f"none of {len(documents)} documents has a token at position {config.min_pos} or later.\n"
            "  The usual cause is short texts. Lower it: --min-pos, or --set capture.min_pos=N"
        )
    return store


def report_target(
    target: Target, train: Path, held_out: Path, layer: int, language: str, seed: int = 0
) -> dict[str, Any]:
    """What the activations of two stores hold; see `legible.evaluate.target_report`.

    Raises:
        UsageError: no language of that name.
    """
    speaks = languages.get(language)
    stores = open_store(train), open_store(held_out)
    fresh = speaks.documents("pretrain", FRESH_SEED + seed, LOSS_STORIES)
    return target_report(target, *stores, layer, speaks, loss_documents=fresh, seed=seed)


def fit_lookup(store: Path, layer: int, out: Path, *, rows: int = FIT_ROWS) -> TokenLookup:
    """The token lookup of a training store, fitted once and kept at `out`."""
    if not out.exists():
        sample = Sample.of_store(open_store(store), layer, None, limit=rows)
        TokenLookup.fit(sample.vectors, sample.columns, sample.doc_ids).save(out)
    return TokenLookup.load(out)


def probes_file(teach_file: Path) -> Path:
    """Where the probes that limited a teacher's text lie, if it was limited outside of a run."""
    return teach_file.with_suffix(".probes.safetensors")


def teach(
    store: Path,
    config: TeachConfig,
    out: Path,
    *,
    layer: int | None = None,
    language: str | None = None,
    probes: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Let a teacher explain every row of a store.

    Args:
        store: the rows.
        config: who writes, and whether limited to what probes or a reconstructor find.
        out: the teacher's file.
        layer: whose activations the probes read (a limited teacher).
        language: whose facts the probes name; absent: the teacher's own.
        probes: where the probes fitted for a limited teacher are kept; absent: beside `out`.
        progress: called with (rows done, rows).

    Returns:
        Counts of written and refused rows.

    Raises:
        UsageError: an unknown teacher, or a limited one without layer or language.
    """
    teacher = make_teacher(config, cache=out.parent / "cache.sqlite")
    rows = open_store(store)
    keep = None
    if config.limit == "probes":
        name = language or (config.teacher if config.teacher in languages.names() else None)
        if layer is None or name is None:
            raise UsageError(
                "a teacher limited by probes needs the layer they read and a language whose facts they name.\n"
                "  Give --layer, and --teacher world or facts."
            )
        keep = _limit(rows, layer, languages.get(name), config, probes or probes_file(out))
    elif config.limit == "leverage":
        keep = keep_by_leverage(rows, layer, teacher, config, out.with_suffix(".leverage"))
    return write_explanations(rows, teacher, out, seed=config.seed, keep=keep, progress=progress)


def _limit(store: Store, layer: int, language: Language, config: TeachConfig, path: Path) -> list[set[str]]:
    if not path.exists():
        sample = Sample.of_store(store, layer, language, limit=FIT_ROWS)
        ProbeSet.fit(sample.vectors, sample.labels(language), sample.doc_ids, seed=config.seed).save(path)
    fitted = ProbeSet.load(path)
    keep: list[set[str]] = []
    for start in range(0, len(store), CHUNK):
        chunk = range(start, min(start + CHUNK, len(store)))
        rows = list(store.rows(chunk))
        keep += keep_from_probes(fitted, store.vectors(chunk, layer), rows, language, threshold=config.threshold)
    return keep


def warm_start(
    target: Target, layer: int, store: Path, teach_file: Path, config: SFTConfig, out: Path, *, language: str | None
) -> dict[str, Any]:
    """SFT of both roles into `out/av` and `out/ar`; returns what was counted. `language` puts texts in other words.

    Raises:
        UsageError: no teacher's file, or nothing in it.
    """
    if not teach_file.is_file():
        raise UsageError(f"no teacher's text at {teach_file}.\n  Write it first with legible teach.")
    rows = open_store(store)
    speaks = languages.get(language) if language is not None else None
    return asdict(train_sft(config, target, layer, rows, teach_file, out, language=speaks))


def joint_training(
    pair: Pair,
    layer: int,
    store: Path,
    dev: Path,
    config: RLConfig,
    out: Path,
    *,
    language: str | None,
    lookup: TokenLookup,
    variance: float,
    target: Target,
    probes: Path | None = None,
) -> dict[str, Any]:
    """RL of a warm-started pair into `out/av` and `out/ar`; the pair ends as the best by the held-out measure.

    Args:
        pair: the warm start, changed in place.
        layer, store: what it is trained on.
        dev: store of other documents; `MEASURE_ROWS` of its rows choose the best step.
        config: the training.
        out: the stage's folder.
        language, lookup, variance, probes: what the measure needs; without probes it has no recall.
        target: with language and lookup, what options of the training need.
    """
    speaks = languages.get(language) if language is not None else None
    measure = held_out_measure(
        open_store(dev),
        speaks,
        layer,
        lookup,
        MEASURE_ROWS,
        variance=variance,
        probes=ProbeSet.load(probes) if probes is not None and probes.exists() else None,
        max_tokens=config.max_tokens,
        seed=config.seed,
    )
    knowledge = Knowledge(speaks, lookup, target)
    rows = open_store(store)
    return asdict(train_rl(config, pair.verbalizer, pair.reconstructor, layer, rows, measure, out, knowledge=knowledge))


def export_store(store: Path, layer: int, out: Path, stage: str, teach_file: Path | None) -> int:
    """Write one layer of a store as a Parquet dataset; returns its rows.

    Raises:
        UsageError: no such stage, or a training stage without the teacher's file.
    """
    if stage not in get_args(ExchangeStage):
        raise UsageError(f"no dataset stage {stage!r}: expected {', '.join(get_args(ExchangeStage))}.")
    if stage in ("av_sft", "ar_sft") and teach_file is None:
        raise UsageError(f"the stage {stage} holds explanations: give the teacher's file with --teach.")
    texts = {t.row: t.text for t in read_taught(teach_file) if t.text is not None} if teach_file else None
    return export_parquet(open_store(store), layer, out, stage=stage, explanations=texts).row_count  # type: ignore[arg-type]
