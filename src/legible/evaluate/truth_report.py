"""How true the readings of a checkpoint are and how far its p_true can be trusted, on fresh held-out documents.

Truth is exact in the world; of other texts it is decided by labels, rules on the text and the target's continuations
(the text language), or is a judge's word. The scores of p_true are on context claims; coverage is over all claims. What
is undefined is null, and `reasons` says why.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from legible.config import CaptureConfig, TruthConfig
from legible.contract import git_commit
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate import claims
from legible.evaluate import trust_metrics as metrics
from legible.evaluate.claims import Judged
from legible.evaluate.foresight import choices, foresight_of
from legible.evaluate.llm_judge import agreement_on_readings, agreement_on_statements, is_asked, judge_claims
from legible.evaluate.run import METRICS_VERSION, held_out
from legible.evaluate.sample import Sample
from legible.evaluate.truth_claims import DECIDED, ReadClaims, flat, instances, unparsed_share
from legible.evaluate.truth_evidence import base_rates, defined, evidence_rows, scores_of
from legible.languages.base import Language
from legible.models.placement import circumstances_part
from legible.probes.probes import ProbeSet
from legible.reading.calibration import Calibrator, ClaimEvidence
from legible.reading.checkpoint import Checkpoint
from legible.reading.evidence import Gathered
from legible.reading.trusted import sampling_temperature, trusted_claims
from legible.stats import Interval
from legible.teachers.judge import Judge

MEASURES = ("context_precision", "precision", "context_claims_per_reading", "recall", "foresight", "unparsed_words")


def truth_report(
    checkpoint: Checkpoint,
    *,
    name: str,
    config: TruthConfig,
    capture: CaptureConfig,
    documents: Sequence[Document] | None = None,
    pool: Sequence[Document] = (),
    judge: Judge | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    judging: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the truth of a checkpoint's readings and the worth of their probabilities.

    Args:
        checkpoint: verbalizer, target, and where it has them reconstructor, language and calibrator.
        name: what the report calls it.
        config: how much is read, samples per reading, and the seed of documents, positions and sampling.
        capture: which positions count (see `CaptureConfig.from_positions`).
        documents: held-out documents; absent: the language's own, as many and of the sort that `config` says.
        pool: other documents that no verbalizer trained on, for the probes; drawn in the world. Without them there is
            no recall and no coverage.
        judge: gives the verdicts instead of the language; recall and coverage stay by construction.
        progress: called with the name of each stage as it begins.
        judging: called with (requests answered, requests) while a judge is asked.

    Returns:
        Plain numbers `precision_at_half_coverage`, `ece`, `brier_skill`, `auroc`, `brier`, `recall`, `foresight`,
        `precision`, `context_precision`, `precision_at_0.8` (of all claims that `--trust 0.8` shows) and
        `unparsed_words` (share of the explanations' words from which no relation could be read), null where undefined,
        then `reasons` has the key; `intervals` with the same keys; `ece_base_rate`, `brier_base_rate`; `all_claims` and
        `evidence` (see `truth_evidence`); `curve`, `reliability`, `kinds`, `positions`, `abstention`, `judge`;
        `mode`, `samples`, `checkpoint`, `documents_of`, `seed`, `commit`, `calibrator` (what it was fitted on) and what
        else the figures depend on.

    Raises:
        UsageError: no documents, none long enough, or samples that the engine refuses.
        TeacherError: the judge failed for good.
    """
    language = checkpoint.language
    sample, _, probes = held_out(checkpoint, config, capture, documents, pool, progress)
    progress("reading")
    trusted, readings = trusted_claims(
        checkpoint, sample.vectors, sample.rows,
        samples=config.samples, temperature=config.temperature, max_tokens=config.max_tokens, seed=config.seed,
    )  # fmt: skip
    known, p, silent = flat(trusted, language)
    decodable = None
    if probes is not None and language is not None:
        decodable = probes.decodable(sample.vectors, sample.labels(language, said=True), sample.doc_ids)
    judged, word = known, None
    if judge is not None:
        progress("judge")
        judged, word = _with_judge(judge, sample, known, language, config.seed, judging)
    read = ReadClaims(sample, judged, p, instances(known, p, decodable))
    progress("foresight")
    measured = _measured(checkpoint, read, known, decodable, config, readings)
    progress("scores")
    fitted = _calibrator(checkpoint, config.samples, sampling_temperature(config.samples, config.temperature))
    rate = fitted["precision"] if fitted is not None else metrics.precision(read.columns(context=False).tally())
    report = _scores(read, measured, rate, config.seed)
    report["evidence"], few = _evidence(read, [one.evidence for row in trusted for one in row], config.seed)
    report |= {
        "kinds": read.by_kind(language),
        "positions": read.by_position(),
        "abstention": read.abstention(language, report["threshold_at_half_coverage"]),
        "judge": word,
        "without_p_true": dict(silent),
    }
    report["reasons"] = _reasons(report, name, silent, decodable is not None, judge is not None) | few
    of = config.documents_of if documents is None else "corpus"
    verdicts = _deciding(judge, language, known)
    return report | _conditions(checkpoint, name, config, sample, probes, verdicts, of) | {"calibrator": fitted}


def _measured(
    checkpoint: Checkpoint,
    read: ReadClaims,
    known: Sequence[Judged],
    decodable: claims.Decodable | None,
    config: TruthConfig,
    readings: Sequence[Gathered],
) -> dict[str, dict[str, Any] | None]:
    """What needs no probability, with intervals; recall and foresight take the claims with verdicts by construction."""
    sample, judged = read.sample, read.judged
    unparsed = unparsed_share(readings, sample.doc_ids)
    return {
        "context_precision": claims.precision(judged, sample.doc_ids, context=True).as_dict(),
        "precision": claims.precision(judged, sample.doc_ids, context=False).as_dict(),
        "context_claims_per_reading": claims.claims_per_reading(judged, sample.doc_ids, context=True).as_dict(),
        "recall": claims.recall(known, sample, decodable).as_dict() if decodable is not None else None,
        "foresight": _foresight(checkpoint, sample, known, checkpoint.language, config),
        "unparsed_words": unparsed.as_dict() if unparsed.documents else None,
    }


def _evidence(read: ReadClaims, evidence: Sequence[ClaimEvidence], seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The rows of `evidence_rows`, or none and the reason by its key."""
    try:
        return evidence_rows(read, evidence, seed=seed), {}
    except UsageError as error:
        return {}, {"evidence": str(error).splitlines()[0]}


def _conditions(
    checkpoint: Checkpoint,
    name: str,
    config: TruthConfig,
    sample: Sample,
    probes: ProbeSet | None,
    verdicts: str | None,
    documents_of: str,
) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "mode": "single" if config.samples == 1 else "sampled",
        "samples": config.samples,
        "temperature": sampling_temperature(config.samples, config.temperature),
        "verdicts": verdicts,
        "language": checkpoint.language.name if checkpoint.language is not None else None,
        "rows": len(sample),
        "documents": len(set(sample.doc_ids)),
        "documents_of": documents_of,
        "probe_rows": probes.rows if probes is not None else 0,
        "checkpoint": name,
        "layer": checkpoint.layer,
        "seed": config.seed,
        "commit": git_commit(),
        "metrics_version": METRICS_VERSION,
        **circumstances_part(checkpoint.target.model),
    }


def _deciding(judge: Judge | None, language: Language | None, known: Sequence[Judged]) -> str | None:
    """What gives the verdicts: "judge", the language's name, or None."""
    if judge is not None:
        return "judge"
    return language.name if language is not None and any(item.verdict in DECIDED for item in known) else None


def _calibrator(checkpoint: Checkpoint, samples: int, temperature: float) -> dict[str, Any] | None:
    """Which calibrator applies to readings made this way, and what it was fitted on; None if none does."""
    pair = checkpoint.calibrator
    chosen = pair.choose(samples, temperature) if pair is not None else None
    if pair is None or not isinstance(chosen, Calibrator):
        return None
    return {"mode": "sampled" if chosen is pair.sampled else "single", **asdict(chosen.fitted)}


def _with_judge(
    judge: Judge,
    sample: Sample,
    known: Sequence[Judged],
    language: Language | None,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Judged], dict[str, Any]]:
    """The claims with the judge's verdicts, and what is known of the judge."""
    judged = judge_claims(judge, sample, known, language, progress)
    counts = judge.counts.as_dict()
    if language is not None and any(item.verdict in DECIDED for item in known):
        agreement = agreement_on_readings(known, judged, sample, language)
    else:
        agreement = agreement_on_statements(judge, sample, seed=seed, progress=progress)
    kept = sum(item.verdict in DECIDED and not is_asked(item, language) for item in known)
    return judged, {"name": judge.name, **counts, "by_construction": kept, "agreement": agreement}


def _foresight(
    checkpoint: Checkpoint, sample: Sample, known: Sequence[Judged], language: Language | None, config: TruthConfig
) -> dict[str, Any] | None:
    """Foresight of the claims; None where no language knows what a continuation states."""
    if language is None or not language.tells or not any(sample.facts):
        return None
    chosen = choices(
        checkpoint.target, sample, language,
        rows=config.foresight_rows, continuations=config.continuations,
        first={item.row for item in known if item.verdict == "open"}, seed=config.seed,
    )  # fmt: skip
    by_row: dict[int, list[Any]] = {choice.row: [] for choice in chosen}
    for item in known:
        if item.row in by_row:
            by_row[item.row].append(item.claim)
    return foresight_of(chosen, by_row, sample.doc_ids, language)


def _scores(read: ReadClaims, measured: Mapping[str, dict[str, Any] | None], rate: float, seed: int) -> dict[str, Any]:
    """Headlines with intervals, the reliability diagram and the curve; `rate` is the base rate."""
    columns = read.columns()
    tallied = columns.tally()
    headlines, bins = columns.intervals(seed=seed)
    intervals: dict[str, Any] = {key: headlines[key].as_dict() for key in metrics.HEADLINES}
    intervals |= {key: value for key, value in measured.items() if value is not None}
    every = scores_of(read.columns(context=False), rate, seed=seed)
    intervals[metrics.AT_TRUST] = every["intervals"][metrics.AT_TRUST]  # what is shown is not context claims alone
    at = headlines["threshold_at_half_coverage"].value
    return {
        **{key: defined(headlines[key].value) for key in metrics.HEADLINES},
        **{key: defined(value["value"]) if value is not None else None for key, value in measured.items()},
        metrics.AT_TRUST: every[metrics.AT_TRUST],
        **base_rates(columns, rate),
        "intervals": intervals,
        "ece_if_calibrated": defined(metrics.calibration_error_if_calibrated(tallied, seed=seed)),
        "all_claims": every,
        "coverage": defined(metrics.coverage(columns.covered, 0.0)) if tallied.total else None,
        "claims_scored": int(tallied.total),
        "reliability": _reliability(tallied, bins),
        "curve": [
            {**point, "coverage": defined(point["coverage"]), "precision": defined(point["precision"]),
             "claims": int(point["claims"])}
            for point in metrics.trade_off(tallied, columns.covered, marks=[at] if at == at else [])
        ],
    }  # fmt: skip


def _reliability(tallied: metrics.Tally, intervals: Sequence[Interval]) -> list[dict[str, float]]:
    """The bins of equal mass, each with the interval of its precision; none where nothing is scored."""
    if not tallied.total:
        return []
    cut = metrics.equal_mass_bins(tallied)
    columns = zip(cut.low, cut.high, cut.p, cut.precision, intervals, strict=True)
    return [
        {
            "low": float(low),
            "high": float(high),
            "p_true": float(p),
            "precision": float(share),
            "precision_low": bounds.low,
            "precision_high": bounds.high,
            "claims": cut.claims,
        }
        for low, high, p, share, bounds in columns
    ]


def _reasons(
    report: Mapping[str, Any], name: str, silent: Counter[str], decodable: bool, judged: bool
) -> dict[str, str]:
    """Why what is null is null, with the next command where there is one."""
    reasons = {}
    nothing = (
        f"no claim has a p_true: {silent.most_common(1)[0][0]}" if silent else "the readings make no context claim"
    )
    truth = "the judge decided no claim" if judged else "these claims are not judged; --judge MODEL judges them"
    uncovered = "no language knows the facts of these texts, so nothing is known to be decodable"
    for key in (*metrics.HEADLINES, *MEASURES):
        if report[key] is not None:
            continue
        if key == "foresight":
            missing = (
                "no language knows what a continuation states, or no claim is about a fact that the target settles"
            )
        elif key == "recall":
            missing = uncovered if not decodable else "nothing is decodable here"
        elif key == "unparsed_words":
            missing = "no explanation came out"
        elif key in MEASURES or report["context_precision"] is None:
            missing = truth
        elif not report["claims_scored"]:
            missing = nothing if "legible" in nothing else f"{nothing}; fit a calibrator: legible calibrate {name}"
        elif key == metrics.AT_TRUST:
            missing = f"no claim has a p_true of {metrics.TRUST} or more"
        elif "half_coverage" in key:
            missing = uncovered if not decodable else "all claims together cover less than half of the decodable"
        else:
            missing = "all scored claims are true, or none is"
        reasons[key] = missing
    return reasons
