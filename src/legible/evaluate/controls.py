"""What would score as well without the reading: floors to clear, and references to compare with.

Floors: a constant guess; the token lookup; the same explanations dealt to rows of other documents; the verbalizer
given no activation (it gets the mean training direction, which is in range where a zero vector is not); the
verbalizer given another document's activation at a like place (same token where there is one, nearest position).
References: the teacher's own text through the reconstructor; ridges from the true facts; a ridge from what probes read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.engines import Engine
from legible.errors import UsageError
from legible.evaluate.reconstruction import Explained, Misses, as_misses, explain, misses
from legible.evaluate.sample import Sample
from legible.instruments.probes import names_read, ridge_of_probed
from legible.languages.base import Language, Row
from legible.models.reconstructor import Reconstructor
from legible.probes.lookup import FactRidge, TokenLookup, fact_names
from legible.probes.probes import ProbeSet
from legible.teachers.base import Explanation
from legible.teachers.language import LanguageTeacher
from legible.vectors import direction_mse, unit


@dataclass(frozen=True)
class Floor:
    """What would score as well without the reading, and the doubt that it rules out by scoring less."""

    what: str
    rules_out: str


FLOORS = {
    "constant": Floor("the mean training direction for every token", "that one vector for every token scores as well"),
    "token_lookup": Floor(
        "best guess from the last two tokens and the position",
        "that the last two tokens and the position are all there is",
    ),
    "shuffled_explanations": Floor(
        "the same explanations, dealt to other documents", "that any explanation fits: these are of other documents"
    ),
    "no_activation": Floor(
        "a verbalizer that is given no activation",
        "that the verbalizer's habits are enough: it is given no activation",
    ),
    "other_activation": Floor(
        "a verbalizer given another document's activation",
        "that the token decides: the verbalizer is given another document's activation at a like place",
    ),
}


@dataclass(frozen=True)
class Controls:
    """Errors of every floor on the sample's rows, and what the verbalizer says without or with a wrong activation."""

    misses: dict[str, Misses]
    no_activation: Explained
    no_activation_decoding: str  # greedy, or sampled where the greedy explanation claims nothing
    other_activation: Explained


def mean_direction(lookup: TokenLookup) -> Float[Tensor, " d_model"]:
    """The constant guess: the mean unit activation of the lookup's training rows."""
    return torch.from_numpy(lookup.mean).float()


def run_controls(
    engine: Engine,
    reconstructor: Reconstructor,
    sample: Sample,
    explained: Explained,
    lookup: TokenLookup,
    *,
    max_tokens: int,
    language: Language | None = None,
    pool: Sample | None = None,
    seed: int = 0,
) -> Controls:
    """Score every floor on the rows of the readings.

    Args:
        sample: the rows read.
        explained: the readings.
        lookup: fitted on training documents.
        max_tokens: longest explanation.
        language: knows whether the explanation of no activation claims anything.
        pool: rows that lend other activations; the sample itself if absent.
        seed: of the dealing.

    Raises:
        UsageError: the sample holds one document only.
    """
    guess = mean_direction(lookup)
    no_activation, decoding = without_activation(engine, sample, guess, max_tokens, language, seed)
    lender = pool if pool is not None else sample
    other = explain(engine, lender.vectors[like_rows(sample, lender)], max_tokens=max_tokens)
    dealt = [explained.texts[row] for row in other_documents(sample.doc_ids, seed)]
    by_control = {
        "constant": as_misses(direction_mse(guess.expand_as(sample.vectors), sample.vectors)),
        "token_lookup": lookup_misses(lookup, sample),
        "shuffled_explanations": misses(reconstructor, dealt, sample.vectors, guess),
        "no_activation": misses(reconstructor, no_activation.texts, sample.vectors, guess),
        "other_activation": misses(reconstructor, other.texts, sample.vectors, guess),
    }
    return Controls(by_control, no_activation, decoding, other)


def without_activation(
    engine: Engine,
    sample: Sample,
    guess: Float[Tensor, " d_model"],
    max_tokens: int,
    language: Language | None,
    seed: int,
) -> tuple[Explained, str]:
    """What the verbalizer says of the mean direction: the same for every row, unless it claims nothing.

    A constant that claims nothing is no floor for claims: then every row gets a sample at temperature 1.
    """
    scale = sample.vectors.norm(dim=-1).mean()  # for verbalizers that inject raw vectors
    vector = (unit(guess) * scale)[None]
    nothing = explain(engine, vector, max_tokens=max_tokens)
    text = nothing.texts[0]
    if language is None or (text is not None and language.parse(text).claims):
        return Explained(nothing.texts * len(sample), nothing.tokens * len(sample)), "greedy"
    vectors = vector.expand(len(sample), -1)
    return explain(engine, vectors, max_tokens=max_tokens, temperature=1.0, seed=seed), "sampled"


def lookup_misses(lookup: TokenLookup, sample: Sample) -> Misses:
    """Error of the token lookup on every row: the denominator of context FVE."""
    return as_misses(direction_mse(lookup.predict(sample.columns), sample.vectors))


def other_documents(doc_ids: Sequence[str], seed: int) -> list[int]:
    """For every row a row of another document, drawn evenly.

    Raises:
        UsageError: all rows are of one document.
    """
    documents = np.asarray(doc_ids, dtype=object)
    if len(set(doc_ids)) < 2:
        raise UsageError("all rows are of one document, and the controls need another.\n  Evaluate more documents.")
    rng = np.random.default_rng([seed, 1])
    return [int(rng.choice(np.flatnonzero(documents != document))) for document in doc_ids]


def like_rows(sample: Sample, lender: Sample) -> list[int]:
    """For every row the lender's row of another document that is most like it: same token, nearest position.

    Raises:
        UsageError: the lender holds no other document.
    """
    documents = np.asarray(lender.doc_ids, dtype=object)
    rows = []
    for row, document in zip(sample.rows, sample.doc_ids, strict=True):
        distance = np.abs(lender.columns.pos - row.pos) + 1e6 * (lender.columns.token_ids != row.token_id)
        distance = np.where(documents == document, np.inf, distance)
        if not np.isfinite(distance).any():
            raise UsageError("no activation of another document to use.\n  Evaluate more documents.")
        rows.append(int(distance.argmin()))
    return rows


def teacher_misses(
    reconstructor: Reconstructor,
    sample: Sample,
    language: Language,
    guess: Float[Tensor, " d_model"],
    *,
    keep: Sequence[set[str]] | None = None,
    seed: int = 0,
) -> Misses:
    """Error of the teacher's own text, read by the reconstructor; a refusal scores as the constant guess.

    Args:
        keep: per row, the kinds that the text may state; None states every known fact.
    """
    return misses(reconstructor, teacher_texts(language, sample.rows, keep=keep, seed=seed), sample.vectors, guess)


def teacher_texts(
    language: Language, rows: Sequence[Row], *, keep: Sequence[set[str]] | None = None, seed: int = 0
) -> list[str | None]:
    """The teacher's own text of every row; None where it has nothing to say. Arguments as for `teacher_misses`."""
    written = LanguageTeacher(language, seed=seed).write(rows, keep)
    return [item.text if isinstance(item, Explanation) else None for item in written]


def ridge_misses(
    sample: Sample, pool: Sample, language: Language, lookup: TokenLookup, probes: ProbeSet, *, seed: int = 0
) -> dict[str, Misses]:
    """Errors of the ridges from the true facts, from facts and tokens, and from what probes read.

    Args:
        pool: rows of other documents that fit the ridges.
        probes: read the kinds of `language.probe_kinds`.
    """
    known, known_pool = fact_names(sample.facts), fact_names(pool.facts)
    plain = FactRidge.fit(pool.vectors, known_pool, pool.doc_ids, seed=seed)
    tokens = FactRidge.fit(pool.vectors, known_pool, pool.doc_ids, columns=pool.columns, lookup=lookup, seed=seed)
    probed = ridge_of_probed(probes, pool, seed=seed)
    guesses = {
        "true_facts": plain.predict(known),
        "true_facts_and_tokens": tokens.predict(known, sample.columns),
        "probes": probed.predict(names_read(probes, sample.vectors, sample.doc_ids)),
    }
    return {name: as_misses(direction_mse(guess, sample.vectors)) for name, guess in guesses.items()}
