"""The evaluation of a checkpoint on fresh held-out documents: one JSON object.

In the built-in world the documents are drawn here, from the split whose wordings and combinations nothing was trained
on; elsewhere the caller gives documents that no training saw. Probes and ridges are fitted on other documents, which
are never read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from legible.config import CaptureConfig, EvalConfig, HeldOutConfig
from legible.contract import git_commit
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate import claims
from legible.evaluate.apart import measured_apart
from legible.evaluate.bench import Bench
from legible.evaluate.carried import kl_recovered, matched_minus_mismatched
from legible.evaluate.controls import (
    Controls,
    lookup_misses,
    mean_direction,
    ridge_misses,
    run_controls,
    teacher_misses,
)
from legible.evaluate.foresight import choices, foresight
from legible.evaluate.reconstruction import (
    Explained,
    Misses,
    as_misses,
    context_fve_of,
    explain,
    fve_gain,
    fve_of,
    reconstructions,
)
from legible.evaluate.sample import Sample
from legible.languages.base import Row
from legible.models.placement import circumstances_part
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.reading.checkpoint import Checkpoint
from legible.vectors import direction_mse

METRICS_VERSION = 1
POOL_POSITIONS = 8  # rows per document of the pool that fits probes and ridges
LIMIT = 0.5  # of the reference teacher that writes only what probes find

Battery = Callable[[Bench, Explained, Misses, Controls, Mapping[str, Misses]], list[dict[str, Any]]]
"""The control battery on (bench, readings, their errors, floors, references): one object a control."""
Writes = Callable[[Sequence[Row]], Sequence[str | None]]
"""What somebody writes of each row; None is a failed parse."""


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    *,
    name: str,
    config: EvalConfig,
    capture: CaptureConfig,
    documents: Sequence[Document] | None = None,
    pool: Sequence[Document] = (),
    progress: Callable[[str], None] = lambda stage: None,
    battery: Battery | None = None,
    writer: Writes | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint beside its floors and references.

    Args:
        checkpoint: verbalizer, reconstructor, target and token lookup.
        name: what the report calls it.
        config: how much is read, and the seed of documents and positions.
        capture: which positions count (see `CaptureConfig.from_positions`).
        documents: held-out documents; absent: the language's own, as many and of the sort that `config` says.
        pool: other documents that no verbalizer trained on, for probes and ridges; drawn in the world. Without them
            recall and the ridges are left out.
        progress: called with the name of each stage as it begins.
        battery: measures the control battery on the same rows; its table is then the report's `controls`.
        writer: a text-only writer, whose claims stand beside the readings'.

    Returns:
        `fve`, `context_fve`, `matched_minus_mismatched` and `kl_recovered` (see `carried`; its n counts the rows that
        were patched), `floors`, `references`, `parse_failures`, `mean_tokens`, `world`, `checkpoint`, `documents_of`
        ("stories", "sentences" or "corpus"), `seed`, `commit`; beside them `floor_intervals`, `reference_intervals`,
        `gains` (FVE over every floor, paired), `claims` (every claim score with its interval, any language),
        `variance`, `probes` and `rows`; where they are measured (see `apart`) also `families`, `retrieval`, `twins`.

    Raises:
        UsageError: no documents, or a checkpoint without reconstructor, token lookup or variance.
    """
    bench = bench_of(checkpoint, config, capture, documents, pool, progress)
    if writer is not None:
        progress("text-only writer")
        bench = replace(bench, text_only=writer(bench.sample.rows))
    progress("reading")
    sample, lookup = bench.sample, bench.lookup
    explained = explain(checkpoint.engine, sample.vectors, max_tokens=config.max_tokens)
    pred = reconstructions(bench.reconstructor, explained.texts, mean_direction(lookup))
    miss = as_misses(direction_mse(pred, sample.vectors))
    progress("controls")
    controls = run_controls(
        checkpoint.engine, bench.reconstructor, sample, explained, lookup,
        max_tokens=config.max_tokens, language=bench.language, pool=bench.pool, seed=config.seed,
    )  # fmt: skip
    references = _references(bench, config.seed)
    report = _scores(bench, explained, miss, controls, references)
    progress("next tokens")
    report |= _carried(checkpoint, bench, pred, config.seed)
    if battery is not None:
        report["controls"] = battery(bench, explained, miss, controls, references)
    if bench.language is not None:
        progress("claims")
        report |= _claims(checkpoint.target, bench, explained, controls, config)
    report |= measured_apart(checkpoint, bench, explained, controls, config, progress)
    return report | {
        "checkpoint": name,
        "documents_of": config.documents_of if documents is None else "corpus",
        "seed": config.seed,
        "commit": git_commit(),
        "metrics_version": METRICS_VERSION,
        "layer": checkpoint.layer,
        "rows": len(sample),
        "probe_rows": bench.probes.rows if bench.probes is not None else 0,
        **circumstances_part(checkpoint.target.model),
    }


def bench_of(
    checkpoint: Checkpoint,
    config: HeldOutConfig,
    capture: CaptureConfig,
    documents: Sequence[Document] | None,
    pool: Sequence[Document],
    progress: Callable[[str], None],
) -> Bench:
    """What a checkpoint is measured on; arguments and errors are those of `evaluate_checkpoint`."""
    reconstructor, lookup, variance = _needed(checkpoint)
    sample, lent, probes = held_out(checkpoint, config, capture, documents, pool, progress)
    return Bench(reconstructor, sample, lent, probes, lookup, variance, checkpoint.language)


def held_out(
    checkpoint: Checkpoint,
    config: HeldOutConfig,
    capture: CaptureConfig,
    documents: Sequence[Document] | None,
    pool: Sequence[Document],
    progress: Callable[[str], None],
) -> tuple[Sample, Sample | None, ProbeSet | None]:
    """The rows that are read, and the rows of other documents with the probes fitted on them.

    Arguments and errors are those of `evaluate_checkpoint`. Without a pool, a language or a single known fact there
    are no other rows and no probes. With `probe_rows` 0 the checkpoint's own speak, fitted on its training documents.
    """
    language = checkpoint.language
    if documents is None and language is not None:
        sentences, others = config.sentences, -(-config.probe_rows // POOL_POSITIONS)
        documents = language.documents("test", config.seed, config.texts, sentences=sentences)
        pool = language.documents("test", config.seed, others, skip=config.texts, sentences=sentences) or ()
    if not documents:
        raise UsageError("no documents to read.\n  Give held-out texts: --corpus FILE")
    shared = {doc.doc_id for doc in documents} & {doc.doc_id for doc in pool}
    if shared:
        raise UsageError(f"{len(shared)} documents are both among those read and in the pool, e.g. {min(shared)!r}.")
    read = capture.measured.model_copy(update={"positions_per_doc": config.positions_per_doc, "seed": config.seed})
    progress("capture")
    sample = Sample.of_documents(checkpoint.target, documents[: config.texts], read, checkpoint.layer, language)
    if config.probe_rows == 0:
        return sample, None, checkpoint.probes if language is not None else None
    if not pool or language is None or not any(sample.facts):
        return sample, None, None
    progress("probes")
    fit = capture.model_copy(update={"positions_per_doc": POOL_POSITIONS, "seed": config.seed})
    lent = Sample.of_documents(checkpoint.target, pool, fit, checkpoint.layer, language, limit=config.probe_rows)
    probes = ProbeSet.fit(
        lent.vectors, lent.labels(language), lent.doc_ids, seed=config.seed, most_values=language.most_values
    )
    return sample, lent, probes


def _needed(checkpoint: Checkpoint) -> tuple[Reconstructor, TokenLookup, float]:
    """The parts of a checkpoint without which there is no score."""
    parts = {
        "reconstructor (ar/)": checkpoint.reconstructor,
        "token lookup (lookup.safetensors)": checkpoint.lookup,
        "variance (legible: variance in av/nla_meta.yaml)": checkpoint.variance,
    }
    absent = [name for name, part in parts.items() if part is None]
    if checkpoint.reconstructor is None or checkpoint.lookup is None or checkpoint.variance is None:
        raise UsageError(
            f"{checkpoint.path} holds no {', no '.join(absent)}, so its readings cannot be scored.\n"
            "  The usual cause is a checkpoint made by other tools. `legible read` still reads with it."
        )
    return checkpoint.reconstructor, checkpoint.lookup, checkpoint.variance


def _references(bench: Bench, seed: int) -> dict[str, Misses]:
    if bench.language is None:
        return {}
    guess = mean_direction(bench.lookup)
    sample, language, reconstructor = bench.sample, bench.language, bench.reconstructor
    misses = {"teacher_text": teacher_misses(reconstructor, sample, language, guess, seed=seed)}
    if bench.probes is None or bench.pool is None:
        return misses
    keep = bench.probes.found(sample.vectors, sample.labels(language), sample.doc_ids, threshold=LIMIT)
    misses["teacher_text_limited"] = teacher_misses(reconstructor, sample, language, guess, keep=keep, seed=seed)
    return misses | ridge_misses(sample, bench.pool, language, bench.lookup, bench.probes, seed=seed)


def _scores(
    bench: Bench, explained: Explained, miss: Misses, controls: Controls, references: Mapping[str, Misses]
) -> dict[str, Any]:
    docs, v = bench.sample.doc_ids, bench.variance
    floors = {name: fve_of(values, v, docs) for name, values in controls.misses.items()}
    refs = {name: fve_of(values, v, docs) for name, values in references.items()}
    return {
        "fve": fve_of(miss, v, docs).as_dict(),
        "context_fve": context_fve_of(miss, lookup_misses(bench.lookup, bench.sample), docs).as_dict(),
        "floors": {name: interval.value for name, interval in floors.items()},
        "references": {name: interval.value for name, interval in refs.items()},
        "parse_failures": explained.parse_failures,
        "mean_tokens": explained.mean_tokens,
        "world": None,
        "claims": None,
        "variance": v,
        "floor_intervals": {name: interval.as_dict() for name, interval in floors.items()},
        "reference_intervals": {name: interval.as_dict() for name, interval in refs.items()},
        "gains": {name: fve_gain(miss, values, v, docs).as_dict() for name, values in controls.misses.items()},
    }


def _carried(
    checkpoint: Checkpoint, bench: Bench, pred: Float[Tensor, "n d_model"], seed: int
) -> dict[str, dict[str, float | int]]:
    """The two figures beside FVE."""
    sample, mean = bench.sample, mean_direction(bench.lookup)
    matched = matched_minus_mismatched(pred, sample.vectors, sample.doc_ids)
    recovered = kl_recovered(checkpoint.target, checkpoint.layer, sample, pred, mean, seed=seed)
    return {"matched_minus_mismatched": matched.as_dict(), "kl_recovered": recovered.as_dict()}


def _claims(
    target: Target, bench: Bench, explained: Explained, controls: Controls, config: EvalConfig
) -> dict[str, Any]:
    """`claims` for any language, `world` besides where it judges continuations, and the probes' report."""
    language, sample = bench.language, bench.sample
    assert language is not None
    judged = claims.judge_texts(explained.texts, sample, language)
    floor = claims.judge_texts(controls.no_activation.texts, sample, language)
    other = claims.judge_texts(controls.other_activation.texts, sample, language)
    report = claims.claim_report(judged, floor, sample, language, bench.decodable)
    report["no_activation_decoding"] = controls.no_activation_decoding
    report["lift_over_other_activation"] = claims.context_lift(judged, other, sample.doc_ids).as_dict()
    figures: dict[str, Any] = {
        "claims": report,
        "probes": bench.probes.report() if bench.probes is not None else None,
    }
    if not language.tells:
        return figures
    seen = choices(
        target, sample, language,
        rows=config.foresight_rows, continuations=config.continuations,
        first={item.row for item in judged if item.verdict == "open"}, seed=config.seed,
    )  # fmt: skip
    report["foresight"] = foresight(seen, explained.texts, sample.doc_ids, language)
    keys = ("precision", "context_precision", "context_claims_per_reading", "context_lift", "recall", "foresight")
    return figures | {"world": {key: report[key]["value"] for key in keys}}
