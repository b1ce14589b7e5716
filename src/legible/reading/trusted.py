"""The claims of readings with the evidence for them, the probability of each being true, and the verdict beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from legible.engines.base import Completion
from legible.engines.sampling import row_key
from legible.errors import UsageError
from legible.languages.base import Claim, Row, Verdict, judge
from legible.reading.calibration import ClaimEvidence, Judgement, p_true_of
from legible.reading.checkpoint import Checkpoint
from legible.reading.evidence import Gathered, Spot, gather, neighbours_of


@dataclass(frozen=True)
class TrustedClaim:
    """One claim of the explanation that a reading shows, with the evidence for it."""

    claim: Claim
    evidence: ClaimEvidence
    p_true: float | None  # None: no calibrator applies; `reason` says why
    verdict: Verdict  # "unknown" where no language decides it
    context: bool  # the last 8 tokens do not give it away
    reason: str | None = None


def trusted_claims(
    checkpoint: Checkpoint,
    vectors: Float[Tensor, "n d_model"],
    rows: Sequence[Row],
    *,
    samples: int = 1,
    temperature: float | None = None,
    max_tokens: int = 96,
    seed: int = 0,
    neighbours: Sequence[Sequence[int]] | None = None,
) -> tuple[list[list[TrustedClaim]], list[Gathered]]:
    """The claims of each row's reading with evidence, p_true and verdict, and the readings.

    Args:
        checkpoint: verbalizer, reconstructor, language and calibrator.
        vectors: raw activations, one a row.
        rows: where each was read.
        samples: explanations a row; above 1 the one whose vector comes back best is the reading's.
        temperature: of the sampling; absent: 0 for one sample, 1 for more.
        max_tokens: longest explanation.
        seed: of the sampling.
        neighbours: for every row the indices of the rows read within 2 tokens of it in the same text; absent: found
            from `rows`. Empty lists leave recurrence unknown.

    Returns:
        One list a row, in the order of the explanation, empty where no explanation came out; and what was gathered.

    Raises:
        UsageError: another number of rows than of vectors, or an argument that the engine refuses.
    """
    if len(rows) != len(vectors):
        raise UsageError(f"{len(vectors)} vectors and {len(rows)} rows, expected one row for each vector.")
    heat = sampling_temperature(samples, temperature)
    keys = [row_key(seed, row, index) for index, row in enumerate(rows)]
    written = checkpoint.engine.generate(vectors, keys, samples=samples, temperature=heat, max_tokens=max_tokens)
    return trusted_of(checkpoint, vectors, rows, written, samples=samples, temperature=heat, neighbours=neighbours)


def trusted_of(
    checkpoint: Checkpoint,
    vectors: Float[Tensor, "n d_model"],
    rows: Sequence[Row],
    written: Sequence[Sequence[Completion]],
    *,
    samples: int,
    temperature: float,
    neighbours: Sequence[Sequence[int]] | None = None,
) -> tuple[list[list[TrustedClaim]], list[Gathered]]:
    """`trusted_claims` of explanations that are there already.

    Args:
        written: the explanations of every row, `samples` of them, sampled at `temperature`.
    """
    if neighbours is None:
        neighbours = neighbours_of([row.document.doc_id for row in rows], [row.pos for row in rows])
    found = gather(checkpoint, vectors, written, _spots(checkpoint, rows), neighbours)
    return with_verdicts(checkpoint, found, rows, samples=samples, temperature=temperature), found


def with_verdicts(
    checkpoint: Checkpoint, found: Sequence[Gathered], rows: Sequence[Row], *, samples: int, temperature: float
) -> list[list[TrustedClaim]]:
    """Gathered claims with p_true, verdict and whether they are context claims."""
    opinions = probabilities(checkpoint, found, samples=samples, temperature=temperature)
    trusted = []
    for item, row, mine in zip(found, rows, opinions, strict=True):
        facts = checkpoint.language.facts(row) if checkpoint.language is not None and item.claims else {}
        trusted.append(
            [
                TrustedClaim(claim, evidence, p, judge(claim, facts), bool(evidence.context), reason)
                for claim, evidence, (p, reason) in zip(item.claims, item.evidence, mine, strict=True)
            ]
        )
    return trusted


def probabilities(
    checkpoint: Checkpoint, found: Sequence[Gathered], *, samples: int, temperature: float
) -> list[list[Judgement]]:
    """(p_true, None) or (None, why not) for every claim of every row; all claims in one call of the calibrator."""
    every = [evidence for item in found for evidence in item.evidence]
    given = (checkpoint.calibrator, every, checkpoint.language)
    opinions = iter(p_true_of(*given, samples=samples, temperature=temperature))
    return [[next(opinions) for _ in item.evidence] for item in found]


def sampling_temperature(samples: int, temperature: float | None) -> float:
    """The temperature that is meant where none was given: 0 for one sample, 1 for more."""
    return temperature if temperature is not None else (0.0 if samples == 1 else 1.0)


def _spots(checkpoint: Checkpoint, rows: Sequence[Row]) -> list[Spot]:
    """The rows as spots; those of documents that the language does not know are marked as outside."""
    language = checkpoint.language
    return [Spot(r.pos, () if language is None or language.knows(r.document) else ("ood",), r) for r in rows]
