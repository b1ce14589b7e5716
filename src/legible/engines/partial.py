"""Partial explanations: go on from the first tokens of one, to the end of its clause or to its own end.

Rows of one batch share a position, so partial explanations of one length are decoded together; the results do not
depend on what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from legible.engines.base import Completion, Key, StopReason
from legible.engines.cached import extend, shared_prefix, spread
from legible.engines.decode import Policy, Written, decode
from legible.engines.direct import fastest_stepper
from legible.engines.sampling import uniforms
from legible.models.verbalizer import Verbalizer
from legible.prompts import parse_explanation

CLAUSE_ENDS = (",", ";", ".", "!", "?", "\n")
BATCH = 256


@dataclass(frozen=True)
class Partial:
    """The first tokens of an explanation; `stop_id` is set once it has ended itself.

    ids: without the stop token; logprobs: ln p of each, then of the stop token; clauses: how many ids each holds.
    """

    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    stop_id: int | None = None
    clauses: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self.stop_id is not None


@dataclass(frozen=True)
class Draw:
    """One continuation to write: of which activation, from where, and the number that decides its randomness."""

    row: int
    partial: Partial
    number: int


class Continuer:
    """Writes continuations of partial explanations with a verbalizer in memory."""

    def __init__(self, verbalizer: Verbalizer) -> None:
        self.verbalizer = verbalizer
        self.ends = clause_ends(verbalizer.tokenizer) - set(verbalizer.prompt.banned_ids)

    @torch.no_grad()
    def write(
        self,
        vectors: Float[Tensor, "n d_model"],
        keys: Sequence[Key],
        draws: Sequence[Draw],
        *,
        clause: bool,
        temperature: float,
        max_tokens: int,
    ) -> list[Partial]:
        """One continuation of each draw's partial explanation, which must not have ended.

        Args:
            vectors: activations; a draw names one by its row.
            keys: one an activation; with a draw's number it decides the draw.
            draws: what to write.
            clause: stop after one clause instead of at the end.
            temperature: 0 takes the likeliest token.
            max_tokens: most tokens of the whole explanation, the stop token counted.

        Returns:
            The longer partial explanations, in the order given; one at `max_tokens` without a stop token never ends.
        """
        by_place: dict[int, Partial] = {}
        by_length: dict[int, list[int]] = {}
        for place, draw in enumerate(draws):
            by_length.setdefault(len(draw.partial.ids), []).append(place)
        prompt = self.verbalizer.prompt
        prefix_ids = torch.tensor(prompt.prefix_ids, dtype=torch.long, device=self.verbalizer.device)
        prefix = shared_prefix(self.verbalizer.model, prefix_ids)
        for length, places in sorted(by_length.items()):
            for start in range(0, len(places), BATCH):
                part = places[start : start + BATCH]
                asked = [draws[place] for place in part]
                written = self._decode(vectors, keys, asked, prefix, clause, temperature, max_tokens - length)
                longer = (self._longer(draw.partial, more) for draw, more in zip(asked, written, strict=True))
                by_place |= dict(zip(part, longer, strict=True))
        return [by_place[place] for place in range(len(draws))]

    def completion(self, partial: Partial) -> Completion:
        """The partial explanation as a search's completion: parsed if it has ended, a failed parse otherwise."""
        text = self.text(partial)
        explanation = parse_explanation(text, self.verbalizer.prompt.tags, stopped=partial.ended)
        reason: StopReason = "stop" if partial.ended else "length"
        return Completion(
            list(partial.ids), list(partial.logprobs), reason, partial.stop_id, text, explanation, "searched"
        )

    def readable(self, partial: Partial) -> str:
        """The explanation so far as a reconstructor may read it: tags left out, an open sentence closed."""
        text = self.text(partial).strip()
        if self.verbalizer.prompt.tags:
            text = text.removeprefix("<explanation>").removesuffix("</explanation>").strip()
        return text if text.endswith((".", "!", "?")) or not text else text.rstrip(" ,;:") + "."

    def text(self, partial: Partial) -> str:
        """The decoded tokens."""
        return str(self.verbalizer.tokenizer.decode(list(partial.ids), skip_special_tokens=True))

    def _decode(
        self,
        vectors: Tensor,
        keys: Sequence[Key],
        draws: Sequence[Draw],
        prefix: DynamicCache,
        clause: bool,
        temperature: float,
        room: int,
    ) -> list[Written]:
        """Continuations of partial explanations of one length; equal ones share their prompt."""
        device = self.verbalizer.device
        prompt = self.verbalizer.prompt
        places: dict[tuple[int, tuple[int, ...]], int] = {}
        index = [places.setdefault((draw.row, draw.partial.ids), len(places)) for draw in draws]
        given = vectors[[row for row, _ in places]].to(device)
        embeds = self.verbalizer.prompt_embeds(given)[:, prompt.position :]
        so_far = torch.tensor([ids for _, ids in places], dtype=torch.long, device=device)
        embeds = torch.cat([embeds, self.verbalizer.arch.embed(so_far)], 1)
        cache = spread(prefix, len(places))
        with self.verbalizer.adding(given, 0):
            logits = extend(self.verbalizer.model, cache, embeds=embeds)
        chosen = torch.tensor(index, device=device)
        stepper = fastest_stepper(self.verbalizer.model, cache, chosen, room)
        stops = {*prompt.stop_ids, *(self.ends if clause else ())}
        noise = uniforms([(*keys[draw.row], draw.number) for draw in draws], room).to(device) if temperature else None
        policy = Policy(temperature, room, stops, prompt.banned_ids, self.verbalizer.outputs)
        return decode(stepper, logits[chosen], policy, noise)

    def _longer(self, partial: Partial, more: Written) -> Partial:
        """The partial explanation with what was written after it, cut into clauses."""
        ended = more.stop_id is not None and more.stop_id in self.verbalizer.prompt.stop_ids
        ids = more.ids if ended or more.stop_id is None else [*more.ids, more.stop_id]
        logprobs = (*partial.logprobs, *more.logprobs)
        clauses = (*partial.clauses, *clause_lengths(ids, self.ends))
        return Partial((*partial.ids, *ids), logprobs, more.stop_id if ended else None, clauses)


def clause_lengths(ids: Sequence[int], ends: frozenset[int]) -> list[int]:
    """Tokens of every clause; the last one may lack its end."""
    lengths, size = [], 0
    for token in ids:
        size += 1
        if token in ends:
            lengths.append(size)
            size = 0
    return [*lengths, size] if size else lengths


@lru_cache(maxsize=8)
def clause_ends(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens after which a clause is over: those whose text ends with a mark of `CLAUSE_ENDS`."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return frozenset(token for token, text in enumerate(texts) if text.rstrip(" ").endswith(CLAUSE_ENDS))
