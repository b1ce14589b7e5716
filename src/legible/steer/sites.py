"""Where steering has a known answer: tokens of held-out stories where a fact is known, read, and told again later."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from legible.documents import Document
from legible.engines.base import Engine
from legible.engines.continuations import continue_text
from legible.languages.base import Claim, Language, Row
from legible.models.target import Encoded, Target
from legible.reading.checkpoint import Checkpoint
from legible.steer.edits import unrelated_edit, with_value


@dataclass(frozen=True)
class Site:
    """A token at which one claim is edited. `other_ids`: the story in which the fact is the new one."""

    doc_id: str
    pos: int
    prefix: str
    ids: Sequence[int]
    other_ids: Sequence[int]
    activation: Float[Tensor, " d_model"]
    other_activation: Float[Tensor, " d_model"]
    kind: str
    old: str
    new: str
    before: str
    after: str
    unrelated: str
    seed: int


@dataclass(frozen=True)
class DrawnToken:
    """A token of a story with what holds there, what the reading says and what the target would say."""

    pos: int
    char_end: int
    known: Mapping[str, str]
    explanation: str | None
    told: Mapping[str, str]


def sites(
    checkpoint: Checkpoint,
    language: Language,
    engine: Engine,
    documents: Sequence[Document],
    kinds: Sequence[str],
    *,
    positions: int,
    max_tokens: int,
    longest: int,
    seed: int,
    counts: Counter[str],
) -> Iterator[Site]:
    """At most one site of each kind a story, at a drawn token of its later half.

    Args:
        language: the checkpoint's; it has `changeable` kinds and knows what continuations state.
        positions: tokens drawn in every story.
        max_tokens: of continuations.
        longest: tokens of an explanation.
        counts: is filled: per kind how many (story, kind) pairs were `looked_at`, had a token where the fact is
            `known`, one where it is `told_again` too, one where the reading says it too (`read`), and a `site`.
    """
    target, layer = checkpoint.target, checkpoint.layer
    for document in documents:
        rng = random.Random(f"{seed}|{document.doc_id}")
        encoded = target.encode(document.text)
        last = min(len(encoded.ids), target.context - max_tokens)
        drawn = rng.sample(range(last // 2, last), min(positions, last - last // 2))
        stream = _stream(target, encoded.ids[:last], layer)
        read = engine.generate(stream[drawn], max_tokens=longest)
        spots = [
            _spot(target, language, document, encoded, pos, done[0].explanation, max_tokens)
            for pos, done in zip(drawn, read, strict=True)
        ]
        for kind in kinds:
            stages = [_stage(spot, kind, language) for spot in spots]
            counts.update({f"{kind} looked_at": 1, **{f"{kind} {name}": 1 for stage in stages for name in stage}})
            for spot, stage in zip(spots, stages, strict=True):
                if "read" not in stage:
                    continue
                site = _site(target, language, document, encoded.ids, layer, stream, spot, kind, rng)
                if site is not None:
                    counts[f"{kind} site"] += 1
                    yield site
                    break


def _stream(target: Target, ids: Sequence[int], layer: int) -> Float[Tensor, "tokens d_model"]:
    batch = torch.tensor([list(ids)])
    return target.streams(batch, torch.ones_like(batch), (layer,))[layer][0].cpu()


def _spot(
    target: Target,
    language: Language,
    document: Document,
    encoded: Encoded,
    pos: int,
    explanation: str | None,
    max_tokens: int,
) -> DrawnToken:
    ids, char_end = encoded.ids, encoded.offsets[pos][1]
    row = Row(document, pos, char_end, char_end, ids[pos], ids[pos - 1])
    known = {kind: fact.values[0] for kind, fact in language.facts(row).items() if len(fact.values) == 1}
    head = list(ids[: pos + 1])
    new = continue_text(target, head, samples=1, max_tokens=max_tokens, temperature=0.0, stop_ids=target.end_ids)[0]
    decode = target.tokenizer.decode
    start = len(str(decode(head, skip_special_tokens=True)))
    said = str(decode([*head, *new], skip_special_tokens=True))[start:]
    return DrawnToken(pos, char_end, known, explanation, language.told(row.prefix, said))


def _stage(spot: DrawnToken, kind: str, language: Language) -> list[str]:
    """How far this token serves: the fact is known, the target tells it again, the reading says just it."""
    if kind not in spot.known or not language.alternatives(spot.known, kind):
        return []
    if spot.told.get(kind) != spot.known[kind]:
        return ["known"]
    said = [claim.value for claim in _claims(spot, kind, language)]
    return ["known", "told_again", "read"] if said == [spot.known[kind]] else ["known", "told_again"]


def _claims(spot: DrawnToken, kind: str, language: Language) -> list[Claim]:
    found = language.parse(spot.explanation or "").claims
    return [claim for claim in found if claim.relation == kind and language.unusual(claim) is None]


def _site(
    target: Target,
    language: Language,
    document: Document,
    ids: Sequence[int],
    layer: int,
    stream: Float[Tensor, "tokens d_model"],
    spot: DrawnToken,
    kind: str,
    rng: random.Random,
) -> Site | None:
    """The site at this token; None where no word so far says the fact, or the reading says nothing else."""
    new = rng.choice(language.alternatives(spot.known, kind))
    prefix = document.text[: spot.char_end]
    other = language.retold(document.doc_id, spot.char_end, spot.known, kind, new)
    other_ids = target.encode(other + document.text[spot.char_end :]).ids
    before = spot.explanation or ""
    after = with_value(before, _claims(spot, kind, language)[0], new)
    seed = rng.randrange(2**31)
    unrelated = unrelated_edit(before, after, language, seed)
    if other == prefix or len(other_ids) != len(ids) or unrelated is None:
        return None
    upto = spot.pos + 1
    return Site(
        doc_id=document.doc_id,
        pos=spot.pos,
        prefix=prefix,
        ids=ids[:upto],
        other_ids=other_ids[:upto],
        activation=stream[spot.pos],
        other_activation=_stream(target, other_ids[:upto], layer)[-1],
        kind=kind,
        old=spot.known[kind],
        new=new,
        before=before,
        after=after,
        unrelated=unrelated,
        seed=seed,
    )
