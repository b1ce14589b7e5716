"""Does editing the words change the story? Steering where the answer is known: a language that can tell it otherwise.

At tokens of held-out stories where a fact is known, the target's own greedy continuation tells it again and the reading
says it, the claim is edited to another value and the story continued anew. Success: the first value of that kind that
the continuation states is the new one. Beside the edit, at the same tokens:
    patch              the ceiling: the true counterfactual activations at the token and all later ones, those of the
                       story with that fact, and what the rules tie to it, changed everywhere
    true_difference    their difference at the token alone, added there and at all later ones
    whole_text         the edit, by the difference of the whole explanations only (see `steering_edits`)
    unrelated, random  another edit and a random direction, as long as the edit's vector
    untouched          nothing added
Directions from files (reading vectors, latents of a sparse autoencoder) can be tried beside them: then edit, random
direction and each file are compared at equal cost in fluency (see `legible.steer.contrasts`). The strength is proposed
at every token (see `steering_strength`) before it is known what the continuation says.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from legible.engines import Engine
from legible.engines.steered import Writing
from legible.errors import UsageError
from legible.languages.base import Language
from legible.models.reconstructor import Reconstructor
from legible.reading.checkpoint import Checkpoint
from legible.stats import ratio_interval, share_interval
from legible.steer.contrasts import Contrasts, Swept, at_equal_cost, contrast
from legible.steer.edits import edit_directions, random_direction
from legible.steer.sites import Site, sites
from legible.steer.strength import BOUND, GRID, MARGIN, Proposal, propose
from legible.steer.sweep import Continuation, Steering, mean_nats, trials
from legible.vectors import unit

ARMS = ("edit", "patch", "true_difference", "whole_text", "unrelated", "random", "untouched")
BAR_SHARE, BAR_ABOVE = 0.70, 0.50
SEED = 6_000_000  # beside the seed of the call: stories that nothing else reads
_EXPLANATION = 96  # tokens


@dataclass(frozen=True)
class Retold:
    """One continuation: the value it states first, its accepted and all sentences, its nats per token untouched."""

    value: str | None
    accepted: int
    sentences: int
    nats: float | None


@dataclass(frozen=True)
class Outcome:
    """What came of one site. `length`: of the raw difference; `cosine`: of its direction with the true one.

    rivals: the sweeps of the directions that the edit is compared with at equal cost.
    """

    site: Site
    arms: dict[str, Retold]
    sweep: tuple[Retold, ...]
    proposal: Proposal
    length: float
    cosine: float
    rivals: dict[str, tuple[Retold, ...]] = field(default_factory=dict)


def evaluate_steering(
    checkpoint: Checkpoint,
    *,
    documents: int = 40,
    positions: int = 5,
    kinds: Sequence[str] | None = None,
    strengths: Sequence[float] = GRID,
    max_tokens: int = 60,
    seed: int = 1,
    contrasts: Mapping[str, Contrasts] | None = None,
    progress: Callable[[int, int], None] = lambda done, sites: None,
) -> dict[str, Any]:
    """Steer at held-out stories and count what their continuations say.

    Args:
        checkpoint: with a reconstructor, of a language that can change facts and `tells`: the world.
        documents: stories of the held-out split; at most one site of each kind in each.
        positions: tokens looked at in every story.
        kinds: of facts, some of those that the language can change; absent: all.
        strengths: among which one is proposed.
        max_tokens: of a continuation.
        seed: of stories, tokens, values and controls.
        contrasts: by name, directions of values that are tried beside the edit at every strength.
        progress: called with (sites done, sites done) after each.

    Returns:
        `arms`: success, share of accepted sentences and nats per token of each; `share_of_ceiling`, `above_unrelated`,
        `above_random`: intervals over documents; all of it in `kinds` too; `sweep`: the edit at every strength;
        with contrasts `equal_cost`, see `at_equal_cost`; `sites`: how many were looked at, known, told again and read;
        `settings`.

    Raises:
        UsageError: no reconstructor, another language, a kind that cannot be changed, or no site.
    """
    language = checkpoint.language
    if checkpoint.reconstructor is None or language is None or not (language.changeable and language.tells):
        raise UsageError(
            "steering is evaluated where its answer is known: on a world checkpoint with a reconstructor.\n"
            "  Give one of a run of the tiny recipe, or 'builtin'."
        )
    every = language.changeable
    kinds = every if kinds is None else kinds
    if unknown := set(kinds) - set(every):
        raise UsageError(f"cannot change {', '.join(sorted(unknown))}; expected some of {', '.join(every)}.")
    counts: Counter[str] = Counter()
    engine = checkpoint.engine
    found = []
    for site in sites(
        checkpoint, language, engine, language.documents("test", SEED + seed, documents) or (), kinds,
        positions=positions, max_tokens=max_tokens, longest=_EXPLANATION, seed=seed, counts=counts,
    ):  # fmt: skip
        one, steering = _steer(checkpoint, language, checkpoint.reconstructor, engine, site, strengths, max_tokens)
        if contrasts is not None:
            one = replace(one, rivals=_rivals(steering, language, site, strengths, contrasts))
        found.append(one)
        progress(len(found), len(found))
    if not found:
        raise UsageError(
            f"none of {documents} stories has a token where a fact is known, read and told again.\n"
            "  Give more --documents, or a pair that reads the world."
        )
    settings = {"documents": documents, "positions": positions, "max_tokens": max_tokens, "seed": seed,
                "strengths": list(strengths), "bound": BOUND, "margin": MARGIN}  # fmt: skip
    report = steering_report(found, strengths, every)
    if contrasts is not None:
        report["equal_cost"] = _equal_cost(found)
    return {**report, "sites": _counted(counts, kinds), "settings": settings}


def steering_report(found: Sequence[Outcome], strengths: Sequence[float], kinds: Sequence[str]) -> dict[str, Any]:
    """The figures of `evaluate_steering` from its outcomes, those of each kind in this order."""
    kinds = [kind for kind in kinds if any(one.site.kind == kind for one in found)]
    return {
        **_figures(found),
        "kinds": {kind: _figures([one for one in found if one.site.kind == kind]) for kind in kinds},
        "sweep": [
            {"strength": strength, **_arm(found, [one.sweep[place] for one in found])}
            for place, strength in enumerate(strengths)
        ],
    }


def _steer(
    checkpoint: Checkpoint,
    language: Language,
    reconstructor: Reconstructor,
    engine: Engine,
    site: Site,
    strengths: Sequence[float],
    max_tokens: int,
) -> tuple[Outcome, Steering]:
    target = checkpoint.target
    steering = Steering(
        target, site.ids, site.pos, checkpoint.layer, site.activation, Writing(max_tokens, stop_ids=target.end_ids)
    )
    pairs = [(site.before, site.after), (site.before, site.unrelated)]
    (edit, other), (length, _) = edit_directions(reconstructor, pairs)
    whole = edit_directions(reconstructor, pairs[:1], alone=False)[0][0]
    vectors = steering.vectors(edit, [0.0, *strengths])
    untouched, *sweep = steering.continuations(vectors)
    tried = trials(engine, site.activation, vectors[1:], strengths, sweep, pairs[0], language, _EXPLANATION)
    chosen = propose(tried, mean_nats(untouched))
    true = site.other_activation - site.activation
    aside = {"whole_text": whole, "unrelated": other, "random": random_direction(len(edit), site.seed)}
    rows = [steering.vectors(vector, [chosen.strength])[0] for vector in aside.values()]
    groups = steering.continuations(torch.stack([*rows, true])) + steering.patched([site.other_ids])
    heard = partial(_told, language, site)
    told_by = dict(zip((*aside, "true_difference", "patch"), map(heard, groups), strict=True))
    swept = tuple(map(heard, sweep))
    told_by |= {"edit": swept[list(strengths).index(chosen.strength)], "untouched": heard(untouched)}
    return Outcome(site, told_by, swept, chosen, length, float(edit @ unit(true))), steering


def _rivals(
    steering: Steering,
    language: Language,
    site: Site,
    strengths: Sequence[float],
    contrasts: Mapping[str, Contrasts],
) -> dict[str, tuple[Retold, ...]]:
    """The random direction and each contrast that knows the new value, at every strength."""
    tried = {"random": random_direction(len(site.activation), site.seed)}
    tried |= {
        name: direction
        for name, each in contrasts.items()
        if (direction := contrast(each, site.kind, site.old, site.new)) is not None
    }
    groups = steering.continuations(torch.cat([steering.vectors(each, strengths) for each in tried.values()]))
    heard, n = [_told(language, site, group) for group in groups], len(strengths)
    return {name: tuple(heard[n * place : n * (place + 1)]) for place, name in enumerate(tried)}


def _equal_cost(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    sweeps = [{"edit": one.sweep, **one.rivals} for one in found]
    arms = {}
    for name in dict.fromkeys(name for each in sweeps for name in each):
        places = [place for place, each in enumerate(sweeps) if name in each]
        hits = [[said.value == found[place].site.new for said in sweeps[place][name]] for place in places]
        costs = [[_cost(said, found[place]) for said in sweeps[place][name]] for place in places]
        arms[name] = Swept(places, np.array(hits), np.array(costs))
    return at_equal_cost(arms, [one.site.doc_id for one in found], against="edit")


def _cost(said: Retold, one: Outcome) -> float:
    return float("nan") if said.nats is None else said.nats - (one.arms["untouched"].nats or 0.0)


def _told(language: Language, site: Site, group: Sequence[Continuation]) -> Retold:
    one = group[0]
    good, every = language.accepted(site.prefix, one.text, cut=one.cut)
    return Retold(language.told(site.prefix, one.text).get(site.kind), good, every, one.nats)


def _figures(found: Sequence[Outcome]) -> dict[str, Any]:
    docs = [one.site.doc_id for one in found]
    hits = {arm: np.array([float(one.arms[arm].value == one.site.new) for one in found]) for arm in ARMS}
    ones = np.ones(len(found))
    why = Counter("read back" if one.proposal.read_back else "not read back" for one in found)
    return {
        "n": len(found),
        "arms": {arm: _arm(found, [one.arms[arm] for one in found]) for arm in ARMS},
        "share_of_ceiling": ratio_interval(hits["edit"], hits["patch"], docs).as_dict(),
        "above_unrelated": ratio_interval(hits["edit"] - hits["unrelated"], ones, docs).as_dict(),
        "above_random": ratio_interval(hits["edit"] - hits["random"], ones, docs).as_dict(),
        "strength": float(np.mean([one.proposal.strength for one in found])),
        "read_back": why["read back"],
        "length": float(np.mean([one.length for one in found])),
        "cosine": float(np.mean([one.cosine for one in found])),
    }


def _arm(found: Sequence[Outcome], told_by: Sequence[Retold]) -> dict[str, Any]:
    docs = [one.site.doc_id for one in found]
    ones = np.ones(len(found))
    pairs = list(zip(found, told_by, strict=True))
    nats = [one.nats for one in told_by if one.nats is not None]
    return {
        "success": share_interval([float(said.value == one.site.new) for one, said in pairs], ones, docs).as_dict(),
        "old": float(np.mean([said.value == one.site.old for one, said in pairs])),
        "silent": float(np.mean([said.value is None for said in told_by])),
        "accepted": share_interval(
            [said.accepted for said in told_by], [said.sentences for said in told_by], docs
        ).as_dict(),
        "nats": float(np.mean(nats)) if nats else None,
    }


def _counted(counts: Counter[str], kinds: Sequence[str]) -> dict[str, dict[str, int]]:
    stages = ("looked_at", "known", "told_again", "read", "site")
    return {kind: {stage: counts[f"{kind} {stage}"] for stage in stages} for kind in kinds}
