"""What a target itself would say next: continuations of a text, or of many beginnings of one.

Of one prompt with many samples the prompt is computed once and its keys and values are spread over the samples. Of many
beginnings of many texts each text is computed once: every beginning takes its part of the keys and values, aligned at
their ends, and all are written on together.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import Cache

from legible.config import CaptureConfig
from legible.data.batches import pad
from legible.data.forward import Beginning, Speaker
from legible.engines.base import Key
from legible.engines.cached import RowLayer, extend, states
from legible.engines.decode import Policy, Stepper, Written, decode
from legible.engines.direct import DirectStepper, fastest_stepper, supports
from legible.engines.sampling import place_key, uniforms
from legible.errors import UsageError
from legible.languages.base import ENDED
from legible.models.target import Target

AT_ONCE = 64
"""Continuations that are written together."""


@torch.no_grad()
def continue_text(
    target: Target,
    ids: Sequence[int],
    *,
    samples: int,
    max_tokens: int,
    temperature: float = 1.0,
    key: Key = (0, 0),
    stop_ids: Collection[int] = (),
) -> list[list[int]]:
    """Sample `samples` continuations of `ids` from the target.

    Args:
        target: the model under study.
        ids: the text so far, special tokens included; not empty.
        samples: continuations.
        max_tokens: most tokens of each, its stop token counted.
        temperature: 0 takes the likeliest token.
        key: with the sample's number it decides every draw.
        stop_ids: tokens that end a continuation; left out of the result.

    Returns:
        `samples` lists of token ids.

    Raises:
        UsageError: no ids, or more than the target's context together with `max_tokens`.
    """
    _check_room(target, len(ids), max_tokens)
    cache = DynamicCache()
    logits = extend(target.model, cache, ids=torch.tensor([list(ids)], device=target.device))
    index = torch.zeros(samples, dtype=torch.long, device=target.device)
    stepper = fastest_stepper(target.model, cache, index, max_tokens)
    noise = uniforms([(*key, sample) for sample in range(samples)], max_tokens).to(target.device)
    policy = Policy(temperature, max_tokens, stop_ids)
    return [row.ids for row in decode(stepper, logits[index], policy, noise)]


@torch.no_grad()
def continue_beginnings(
    target: Target,
    cache: DynamicCache,
    logits: Float[Tensor, "n vocab"],
    places: Sequence[tuple[int, int]],
    *,
    samples: int,
    max_tokens: int,
    temperature: float = 1.0,
    keys: Sequence[Key],
    stop_ids: Collection[int] = (),
) -> list[list[Written]]:
    """Continuations of beginnings of the texts of a batch, of which the keys and values are known.

    Args:
        cache: of the batch; what stands behind a beginning is not read.
        logits: of the token behind each beginning.
        places: each beginning's row of the batch, and the index of its last token.
        keys: one a beginning; with the sample's number it decides every draw.
        samples, max_tokens, temperature, stop_ids: as for `continue_text`.

    Returns:
        Per beginning its `samples` continuations; the same as of that beginning alone, up to rounding.
    """
    policy = Policy(temperature, max_tokens, stop_ids)
    order = sorted(range(len(places)), key=lambda place: places[place][1])  # of like lengths together
    rows = [(place, sample) for place in order for sample in range(samples)]
    by_place: dict[tuple[int, int], Written] = {}
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        which = torch.tensor([place for place, _ in part], device=target.device)
        stepper = _stepper(target, cache, [places[place] for place, _ in part], max_tokens)
        noise = uniforms([(*keys[place], sample) for place, sample in part], max_tokens).to(target.device)
        written = decode(stepper, logits[which], policy, noise if temperature else None)
        by_place |= dict(zip(part, written, strict=True))
    return [[by_place[place, sample] for sample in range(samples)] for place in range(len(places))]


@torch.no_grad()
def continue_prompts(
    target: Target,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    keys: Sequence[Key],
    stop_ids: Collection[int] = (),
) -> list[Written]:
    """One continuation of each of several prompts, written together; arguments as for `continue_text`.

    Raises:
        UsageError: an empty prompt, or one longer than the target's context together with `max_tokens`.
    """
    for prompt in prompts:
        _check_room(target, len(prompt), max_tokens)
    ids, mask = pad([list(prompt) for prompt in prompts])
    places = [(row, len(prompt) - 1) for row, prompt in enumerate(prompts)]
    cache = DynamicCache()
    rows, last = torch.tensor(places).T
    logits = target.logits_at(ids, mask, rows, last, cache=cache)
    continuations = continue_beginnings(
        target, cache, logits, places, samples=1, max_tokens=max_tokens, temperature=temperature,
        keys=keys, stop_ids=stop_ids,
    )  # fmt: skip
    return [written for (written,) in continuations]


def _stepper(target: Target, cache: DynamicCache, places: Sequence[tuple[int, int]], room: int) -> Stepper:
    """Rows whose prompts are beginnings of the texts of a batch, aligned at their ends."""
    where, last = torch.tensor(places, device=target.device).T
    lengths = last + 1
    longest = int(lengths.max())
    place = torch.arange(longest, device=target.device)[None] - (longest - lengths)[:, None]
    index = place.clamp_min(0)
    aligned = lambda part: part[where[:, None], :, index].transpose(1, 2).contiguous()
    layers = [(aligned(keys), aligned(values)) for keys, values in states(cache)]
    if supports(target.model, longest + room):
        return DirectStepper.aligned(target.model, layers, lengths, room)
    return RaggedStepper(target.model, [RowLayer(*parts) for parts in layers], (place >= 0).long(), lengths)


class RaggedStepper:
    """Decodes rows whose prompts have different lengths and end together.

    Args:
        model: a transformers causal LM.
        layers: keys and values of every block.
        mask: where each row has a token.
        lengths: of the prompts, in tokens.
    """

    def __init__(
        self, model: nn.Module, layers: list[RowLayer], mask: Int[Tensor, "n longest"], lengths: Int[Tensor, " n"]
    ) -> None:
        self.model, self.mask, self.positions = model, mask, lengths.clone()
        self._layers = layers
        self.cache = Cache(layers=list(layers))

    def step(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """Append one token to every row and return the logits of the next, float32."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], 1)
        output = self.model(
            input_ids=tokens[:, None], attention_mask=self.mask, past_key_values=self.cache,
            position_ids=self.positions[:, None], use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        self.positions = self.positions + 1
        return output.logits[:, -1].float()

    def drop(self, holes: Int[Tensor, " k"], movers: Int[Tensor, " k"], n: int) -> None:
        """Move rows `movers` into the places `holes`, then keep the first `n` rows."""
        for layer in self._layers:
            layer.drop(holes, movers, n)
        for name in ("mask", "positions"):
            rows: Tensor = getattr(self, name)
            rows[holes] = rows[movers]
            setattr(self, name, rows[:n])


def texts_behind(target: Target, ids: Sequence[int], written: Sequence[Sequence[int]]) -> list[str]:
    """Continuations as text that can be put right behind the text of `ids`."""
    decode_ids: Any = target.tokenizer.decode
    head = len(str(decode_ids(list(ids), skip_special_tokens=True)))
    return [str(decode_ids([*ids, *new], skip_special_tokens=True))[head:] for new in written]


def speaker(target: Target, config: CaptureConfig) -> Speaker | None:
    """Who writes the continuations of a capture, greedily one and by sampling several; None where none are wanted."""
    if not config.continuations:
        return None

    def speak(
        cache: DynamicCache, logits: Float[Tensor, "n vocab"], texts: Sequence[Beginning]
    ) -> list[tuple[str, ...]]:
        # the context has no room behind the last tokens
        fits = [n for n, text in enumerate(texts) if text.pos + 1 + config.continuation_tokens <= target.context]
        written = continue_beginnings(
            target, cache, logits[fits], [(texts[n].row, texts[n].pos) for n in fits],
            samples=config.continuations, max_tokens=config.continuation_tokens,
            temperature=0.0 if config.continuations == 1 else 1.0,
            keys=[place_key(config.seed, texts[n].prefix, texts[n].pos) for n in fits],
            stop_ids=target.end_ids,
        )  # fmt: skip
        said: list[tuple[str, ...]] = [()] * len(texts)
        for n, rows in zip(fits, written, strict=True):
            behind = texts_behind(target, texts[n].ids[: texts[n].pos + 1], [row.ids for row in rows])
            said[n] = tuple(text + ENDED * (row.stop_id is not None) for text, row in zip(behind, rows, strict=True))
        return said

    return speak


def _check_room(target: Target, length: int, max_tokens: int) -> None:
    if not length or length + max_tokens > target.context:
        raise UsageError(
            f"cannot continue {length} tokens by {max_tokens}: expected at least 1 token, and at most "
            f"{target.context} together (the target's context).\n  Read an earlier position or ask for fewer tokens."
        )
