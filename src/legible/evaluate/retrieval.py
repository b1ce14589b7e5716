"""Whether a reconstruction finds its own activation among others that the last words do not tell apart.

    context      16 candidates: the row's own activation, and those of 15 prefixes of other documents, each followed by
                 the row's last 8 tokens and run through the target again
    same token   16 candidates: the row's own activation, and those of 15 other documents at the same token

A row counts where its own candidate is the nearest to the reconstruction by cosine, the candidates' mean taken off;
where k are equally near it counts 1/k. Chance is 1/16 in both. Words that do no more than quote the last 8 tokens stay
there in the first, and do well in the second: it is secondary, and stands beside the same echo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.forward import RECENT_TOKENS
from legible.engines.endings import ids_until, streams_behind
from legible.evaluate.controls import teacher_texts
from legible.evaluate.reconstruction import reconstructions
from legible.evaluate.sample import Sample
from legible.languages.base import Family, Language
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.reading.spans import without
from legible.stats import Interval, share_interval
from legible.vectors import centered_cosine, unit

CANDIDATES = 16
ECHO: tuple[Family, ...] = ("next", "now")
"""Families whose words are about the last and the next tokens."""


@dataclass(frozen=True)
class Lineup:
    """Rows with their candidates; the first is the row's own."""

    rows: list[int]
    candidates: Float[Tensor, "n candidates d_model"]


def own_is_nearest(
    pred: Float[Tensor, "n d_model"], candidates: Float[Tensor, "n candidates d_model"]
) -> Float[Tensor, " n"]:
    """1 where the first candidate is the nearest to the reconstruction, 0 where another is, 1/k where k are.

    Args:
        pred: reconstructions, any scale.
        candidates: activations, any scale.

    Example:
        >>> own_is_nearest(torch.tensor([[1.0, 0.1]]), torch.eye(2)[None]).tolist()
        [1.0]
    """
    near = centered_cosine(pred[:, None], candidates, unit(candidates).mean(1, keepdim=True))
    best = near == near.max(1, keepdim=True).values
    return best[:, 0].float() / best.sum(1)


def retrieval(
    target: Target,
    layer: int,
    reconstructor: Reconstructor,
    sample: Sample,
    texts: Sequence[str | None],
    guess: Float[Tensor, " d_model"],
    *,
    language: Language | None,
    pool: Sample | None = None,
    rows: int,
    seed: int = 0,
) -> dict[str, Any]:
    """How often readings find their own activation, beside the teacher's text and a re-run of the last 8 tokens.

    Args:
        target, layer: whose activations.
        reconstructor: reads the words.
        sample: the rows, with their activations.
        texts: their explanations; None scores as the constant guess.
        guess: the constant guess.
        language: knows which statements are about next and last tokens, and has a teacher; None leaves these out.
        pool: rows of other documents that may be candidates of same-token retrieval, beside the sample's.
        rows: most rows measured, drawn evenly.
        seed: of the drawing.

    Returns:
        `context`, `same_token`, `last8` (context retrieval by the last 8 tokens alone, run through the target),
        `same_token_last8`, `context_without_next_and_now` (these statements taken out of the words), `teacher` and
        `teacher_without_next_and_now` (context retrieval by the teacher's text): intervals over documents, null where
        nothing can be measured; `candidates`, and `reasons` by key.
    """
    names = (
        "context", "same_token", "last8", "same_token_last8",
        "context_without_next_and_now", "teacher", "teacher_without_next_and_now",
    )  # fmt: skip
    report: dict[str, Any] = {**dict.fromkeys(names), "candidates": CANDIDATES, "reasons": {}}
    chosen = drawn_rows(sample, rows, seed)
    read = lambda said: reconstructions(reconstructor, said, guess)
    if len({sample.doc_ids[row] for row in chosen}) < CANDIDATES:
        few = f"fewer than {CANDIDATES} documents have a token with words before its last {RECENT_TOKENS} tokens"
        return report | {"reasons": dict.fromkeys(names, few)}
    read_texts = [texts[row] for row in chosen]
    echo = last_tokens_alone(target, layer, sample, chosen)
    lineup = context_lineup(target, layer, sample, chosen, seed)
    preds = {"context": read(read_texts), "last8": echo}
    if language is not None:
        taught = teacher_texts(language, [sample.rows[row] for row in chosen], seed=seed)
        preds["teacher"] = read(taught)
        for name, said in (("context", read_texts), ("teacher", taught)):
            preds[f"{name}_without_next_and_now"] = read([without_families(language, text, ECHO) for text in said])
    else:
        report["reasons"] |= dict.fromkeys(names[4:], "no language knows what these words are about")
    report |= {name: found_share(pred, lineup, sample).as_dict() for name, pred in preds.items()}
    alike = same_token_lineup(sample, pool, chosen, seed)
    if alike.rows:
        place = [chosen.index(row) for row in alike.rows]
        for name, pred in (("same_token", preds["context"]), ("same_token_last8", echo)):
            report[name] = found_share(pred[place], alike, sample).as_dict()
    else:
        report["reasons"]["same_token"] = f"no token of a row stands in {CANDIDATES - 1} other documents"
    return report


def drawn_rows(sample: Sample, most: int, seed: int) -> list[int]:
    """At most so many rows, drawn evenly among those with words before their last 8 tokens, in order."""
    able = [index for index, row in enumerate(sample.rows) if row.recent_start > 0 and row.pos >= RECENT_TOKENS]
    if most < len(able):
        able = np.random.default_rng([seed, 5]).choice(able, most, replace=False).tolist()
    return sorted(able)


def context_lineup(target: Target, layer: int, sample: Sample, rows: Sequence[int], seed: int) -> Lineup:
    """Every row's activation, then those of 15 other documents' prefixes followed by the row's last 8 tokens.

    Args:
        rows: of at least 16 documents; their prefixes serve each other.
    """
    beginnings, endings = _split(target, sample, rows)
    rng = np.random.default_rng([seed, 6])
    lent = [_of_others(rng, [sample.doc_ids[row] for row in rows], place) for place in range(len(rows))]
    pairs = [(other, place) for place, others in enumerate(lent) for other in others]
    others = streams_behind(target, layer, beginnings, endings, pairs).view(len(rows), CANDIDATES - 1, -1)
    return Lineup(list(rows), torch.cat([sample.vectors[list(rows)].float()[:, None], others], 1))


def same_token_lineup(sample: Sample, pool: Sample | None, rows: Sequence[int], seed: int) -> Lineup:
    """Every row's activation, then those of 15 other documents at the same token; rows with fewer are left out."""
    lenders = [sample, *([pool] if pool is not None else [])]
    by_token: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for which, lender in enumerate(lenders):
        for index, row in enumerate(lender.rows):
            by_token.setdefault(row.token_id, {}).setdefault(row.document.doc_id, []).append((which, index))
    rng = np.random.default_rng([seed, 7])
    kept, candidates = [], []
    for place in rows:
        document, token = sample.doc_ids[place], sample.rows[place].token_id
        others = [places for name, places in by_token[token].items() if name != document]
        if len(others) < CANDIDATES - 1:
            continue
        drawn = [others[n] for n in rng.choice(len(others), CANDIDATES - 1, replace=False)]
        lent = [places[int(rng.integers(len(places)))] for places in drawn]
        vectors = [sample.vectors[place], *(lenders[which].vectors[index] for which, index in lent)]
        kept.append(place)
        candidates.append(torch.stack(vectors).float())
    return Lineup(kept, torch.stack(candidates) if kept else torch.empty(0, CANDIDATES, sample.vectors.shape[1]))


def last_tokens_alone(target: Target, layer: int, sample: Sample, rows: Sequence[int]) -> Float[Tensor, "n d_model"]:
    """The activation at the end of each row's last 8 tokens, run alone behind the token that begins every text."""
    beginnings, endings = _split(target, sample, rows)
    starts = [ids[:1] if ids[0] == target.bos_id else [] for ids in beginnings]
    return streams_behind(target, layer, starts, endings, [(place, place) for place in range(len(rows))])


def without_families(language: Language, text: str | None, families: Sequence[Family]) -> str | None:
    """An explanation without the statements of these families; None where nothing stays."""
    while text:
        claims = language.parse(text).claims
        gone = (without(text, claims, place) for place, claim in enumerate(claims) if claim.family in families)
        shorter = next((one for one in gone if len(language.parse(one).claims) < len(claims)), None)
        if shorter is None:
            break
        text = shorter
    return text or None


def _split(target: Target, sample: Sample, rows: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
    """The tokens of each row's text before its last 8, and these 8."""
    ids = [ids_until(target, sample.rows[row]) for row in rows]
    return [one[:-RECENT_TOKENS] for one in ids], [one[-RECENT_TOKENS:] for one in ids]


def _of_others(rng: np.random.Generator, doc_ids: Sequence[str], document: int) -> list[int]:
    """A place of each of 15 documents other than the one at `document`."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(doc_ids):
        if name != doc_ids[document]:
            places.setdefault(name, []).append(place)
    several = list(places.values())
    drawn = rng.choice(len(several), CANDIDATES - 1, replace=False)
    return [several[n][int(rng.integers(len(several[n])))] for n in drawn]


def found_share(pred: Float[Tensor, "n d_model"], lineup: Lineup, sample: Sample) -> Interval:
    """The share of the lineup's rows whose reconstruction is nearest to their own activation."""
    hits = own_is_nearest(pred, lineup.candidates).double().numpy()
    return share_interval(hits, np.ones_like(hits), [sample.doc_ids[row] for row in lineup.rows])
