"""Fit the calibrators of a checkpoint on held-out documents whose truth is known.

The documents are used for nothing else: the split `calibrate` of a language (in the world stories of training wordings
and combinations under seeds of their own), elsewhere that of the corpus. Tokens are read in short runs, so that
neighbours show what recurs; for half of the tokens that is hidden again, because a reading may be asked for a single
token. Some of a language's own documents are of one to three sentences: what people type is short, so its tokens stand
earlier than any that the pair was trained on.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.config import CalibrateConfig, CaptureConfig
from legible.documents import Document
from legible.engines.sampling import row_key
from legible.errors import UsageError
from legible.evaluate import trust_metrics
from legible.languages.base import Row
from legible.reading.calibrated import fingerprint
from legible.reading.calibration import Calibrator, Calibrators, ClaimEvidence, FittedOn
from legible.reading.calibration_fit import Labelled, fit_calibrator
from legible.reading.checkpoint import Checkpoint
from legible.reading.evidence import Gathered, Spot, gather, neighbours_of
from legible.reading.rows import rows_of, with_continuations, with_expectations
from legible.reading.trusted import TrustedClaim, with_verdicts

CHUNK = 16  # documents read at a time
SAMPLED_SHARE = 5  # the single calibrator also sees one sampled explanation of every fifth document
DECIDED = ("true", "false", "open")


@dataclass
class Table:
    """Decided claims of one way of reading."""

    evidence: list[ClaimEvidence] = field(default_factory=list)
    true: list[bool] = field(default_factory=list)
    doc_ids: list[str] = field(default_factory=list)
    readings: int = 0

    def add(self, trusted: Sequence[Sequence[TrustedClaim]], rows: Sequence[Row], hidden: Sequence[bool]) -> None:
        """Take in the claims of some rows; recurrence is left out where it is hidden.

        Denials and other unusual claims stay out, too few to be fitted on: the calibrator refuses them.
        """
        self.readings += len(rows)
        for claims, row, hide in zip(trusted, rows, hidden, strict=True):
            for one in claims:
                if one.verdict in DECIDED and one.claim.value is not None and one.evidence.unusual is None:
                    self.evidence.append(replace(one.evidence, recurrence=None) if hide else one.evidence)
                    self.true.append(one.verdict == "true")
                    self.doc_ids.append(row.document.doc_id)


def calibrate(
    checkpoint: Checkpoint,
    config: CalibrateConfig,
    documents: Sequence[Document],
    *,
    split: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibrators:
    """Read documents and fit both calibrators.

    Args:
        checkpoint: a pair with a reconstructor, of a language that decides truth.
        config: how much is read.
        documents: held out from training and from every evaluation.
        split: what the calibrators call them.
        progress: called with (documents read, documents).

    Raises:
        UsageError: no language or reconstructor, or too few claims to fit on.
    """
    check(checkpoint)
    single, sampled = Table(), Table()
    for start in range(0, len(documents), CHUNK):
        chunk = documents[start : start + CHUNK]
        _read(checkpoint, config, chunk, start, single, sampled)
        progress(min(start + CHUNK, len(documents)), len(documents))
    if not single.readings:
        raise UsageError(f"none of {len(documents)} documents has {config.window} tokens.\n  Give longer texts.")
    fitted = _fit(checkpoint, config, split, single, samples=1)
    several = _fit(checkpoint, config, split, sampled, samples=config.samples) if config.samples > 1 else None
    return Calibrators(fitted, several)


def summary(pair: Calibrators) -> dict[str, Any]:
    """What both calibrators were fitted on, and their cross-fitted scores, as plain JSON."""
    return {
        name: asdict(found.fitted) if found is not None else None
        for name, found in (("single", pair.single), ("sampled", pair.sampled))
    }


def summary_lines(pair: Calibrators) -> list[str]:
    """The same for a terminal."""
    lines = []
    for name, found in summary(pair).items():
        if found is not None:
            scores = "  ".join(f"{key} {_number(value)}" for key, value in found["scores"].items())
            lines.append(
                f"{name}: {found['claims']} claims of {found['readings']} readings in {found['documents']} documents, "
                f"{found['precision']:.3f} of them true; cross-fitted on context claims: {scores}"
            )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def check(checkpoint: Checkpoint) -> None:
    """Whether a calibrator can be fitted at all.

    Raises:
        UsageError: no language decides what is true, or there is no reconstructor.
    """
    if checkpoint.language is None:
        raise UsageError(
            f"no language decides what is true in the explanations of {checkpoint.path}: nothing can be calibrated.\n"
            "  The usual cause is a teacher other than world and text. p_true stays null."
        )
    if checkpoint.reconstructor is None:
        raise UsageError(f"{checkpoint.path} has no reconstructor (ar/): leverage needs one.")


def _read(
    checkpoint: Checkpoint,
    config: CalibrateConfig,
    documents: Sequence[Document],
    start: int,
    single: Table,
    sampled: Table,
) -> None:
    vectors, rows = windows(checkpoint, documents, config)
    if not rows:
        return
    rng = np.random.default_rng([config.seed, start, 1])
    hidden = (rng.random(len(rows)) < 0.5).tolist()
    engine = checkpoint.engine
    spots = [Spot(row.pos, (), row) for row in rows]
    near = neighbours_of([row.document.doc_id for row in rows], [row.pos for row in rows])
    greedy = engine.generate(vectors, max_tokens=config.max_tokens)
    single.add(_claims(checkpoint, gather(checkpoint, vectors, greedy, spots, near), rows), rows, hidden)
    several = engine.generate(
        vectors,
        [row_key(config.seed, row, start + index) for index, row in enumerate(rows)],
        samples=config.samples,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
    )
    fifth = {doc.doc_id for doc in documents[::SAMPLED_SHARE]}
    some = [index for index, row in enumerate(rows) if row.document.doc_id in fifth]
    place = {index: number for number, index in enumerate(some)}
    first = gather(
        checkpoint,
        vectors[some],
        [several[index][:1] for index in some],
        [spots[index] for index in some],
        [[place[other] for other in near[index]] for index in some],
    )
    of_fifth = [rows[index] for index in some]
    single.add(_claims(checkpoint, first, of_fifth), of_fifth, [hidden[index] for index in some])
    if config.samples > 1:
        sampled.add(_claims(checkpoint, gather(checkpoint, vectors, several, spots, near), rows), rows, hidden)


def _claims(checkpoint: Checkpoint, found: Sequence[Gathered], rows: Sequence[Row]) -> list[list[TrustedClaim]]:
    return with_verdicts(replace(checkpoint, calibrator=None), found, rows, samples=1, temperature=0.0)


def windows(
    checkpoint: Checkpoint, documents: Sequence[Document], config: CalibrateConfig
) -> tuple[Float[Tensor, "n d_model"], list[Row]]:
    """Activations and rows of runs of neighbouring tokens, spread over each document at random by (seed, doc_id)."""
    target, layer = checkpoint.target, checkpoint.layer
    extra = checkpoint.contract.legible
    sampled = CaptureConfig.from_positions(extra.variance.positions if extra and extra.variance else "")
    vectors, rows = [], []
    for document in documents:
        encoded = target.encode(document.text)
        length = min(len(encoded.ids), target.context, sampled.max_tokens)
        mine = list(_windows(rows_of(document, encoded.ids[:length], encoded.offsets[:length]), config))
        if not mine:
            continue
        ids = torch.tensor([encoded.ids[:length]])
        stream = target.streams(ids, torch.ones_like(ids), (layer,))[layer][0].cpu()
        vectors.append(stream[[row.pos for row in mine]])
        if sampled.predictions:
            mine = with_expectations(target, encoded.ids[:length], mine, sampled.predictions)
        rows += with_continuations(target, encoded.ids[:length], mine, sampled.measured)
    return torch.cat(vectors) if vectors else torch.zeros(0, target.d_model), rows


def _windows(rows: Sequence[Row], config: CalibrateConfig) -> Iterator[Row]:
    starts = range(0, len(rows) - config.window + 1, config.window)
    if not starts:
        return
    key = hashlib.sha256(f"windows\n{config.seed}\n{rows[0].document.doc_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:16]))
    for start in sorted(rng.permutation(len(starts))[: config.windows].tolist()):
        yield from rows[starts[start] : starts[start] + config.window]


def _fit(checkpoint: Checkpoint, config: CalibrateConfig, split: str, table: Table, *, samples: int) -> Calibrator:
    assert checkpoint.language is not None
    context = np.array([bool(each.context) for each in table.evidence])
    fitted = FittedOn(
        language=checkpoint.language.name,
        split=split,
        seed=config.seed,
        documents=len(set(table.doc_ids)),
        readings=table.readings,
        claims=len(table.true),
        context_claims=int(context.sum()),
        precision=sum(table.true) / max(1, len(table.true)),
        samples=samples,
        temperature=config.temperature,
        layer=checkpoint.layer,
        pair=fingerprint(checkpoint.verbalizer, checkpoint.reconstructor, checkpoint.probes),
    )
    data = Labelled(table.evidence, table.true, table.doc_ids)
    found, crossed = fit_calibrator(data, fitted, folds=config.folds)
    shown = context if context.any() else ~context
    return replace(found, fitted=replace(fitted, scores=_scores(crossed[shown], np.array(table.true)[shown])))


def _scores(p: np.ndarray, true: np.ndarray) -> dict[str, float | None]:
    counted = trust_metrics.tally(p, true)
    values = {
        "ece": trust_metrics.calibration_error(counted),
        "brier_skill": trust_metrics.brier_skill(counted),
        "auroc": trust_metrics.auroc(counted),
    }
    return {name: value if value == value else None for name, value in values.items()}
