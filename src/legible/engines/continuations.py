"""What a target itself would say next: continuations of a text, or of many beginnings of one.

Of one prompt with many samples the prompt is computed once and its keys and values are spread over the samples. Of many
beginnings of a document the document is computed once: each beginning takes its part of the keys and values, aligned at
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
from legible.data.capture import Speaker
from legible.engines.base import Key
from legible.engines.cached import RowLayer, extend, states
from legible.engines.decode import Policy, Written, decode
from legible.engines.direct import fastest_stepper
from legible.engines.sampling import place_key, uniforms
from legible.errors import UsageError
from legible.languages.base import ENDED
from legible.models.target import Target

AT_ONCE = 32
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
def continue_at(
    target: Target,
    ids: Sequence[int],
    ends: Sequence[int],
    *,
    samples: int,
    max_tokens: int,
    temperature: float = 1.0,
    keys: Sequence[Key],
    stop_ids: Collection[int] = (),
) -> list[list[Written]]:
    """Continuations of several beginnings of a text, which is computed once.

    Args:
        ids: the whole text, special tokens included.
        ends: the last token of each beginning, as an index into `ids`.
        keys: one a beginning; with the sample's number it decides every draw.
        samples, max_tokens, temperature, stop_ids: as for `continue_text`.

    Returns:
        Per beginning its `samples` continuations; the same as of that beginning alone, up to rounding.

    Raises:
        UsageError: no ends, or a beginning longer than the target's context together with `max_tokens`.
    """
    _check_room(target, max(ends, default=-1) + 1, max_tokens)
    longest = max(ends) + 1
    cache, where = DynamicCache(), torch.tensor(list(ends), device=target.device)
    whole = torch.tensor([list(ids[:longest])], device=target.device)
    positions = torch.arange(longest, device=target.device)[None]
    output = target.model(
        input_ids=whole, past_key_values=cache, position_ids=positions, use_cache=True, logits_to_keep=where
    )
    logits = output.logits[0].float()
    policy, found = Policy(temperature, max_tokens, stop_ids), list[Written]()
    rows = [(place, sample) for place in range(len(ends)) for sample in range(samples)]
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        places = torch.tensor([place for place, _ in part], device=target.device)
        stepper = RaggedStepper.of_beginnings(target.model, cache, where[places] + 1)
        noise = uniforms([(*keys[place], sample) for place, sample in part], max_tokens).to(target.device)
        found += decode(stepper, logits[places], policy, noise if temperature else None)
    return [found[at : at + samples] for at in range(0, len(found), samples)]


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
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=target.device)
    mask, place = _aligned(lengths)
    ids = torch.zeros_like(mask)
    for row, prompt in enumerate(prompts):
        ids[row, -len(prompt) :] = torch.tensor(list(prompt), device=target.device)
    cache = DynamicCache()
    output = target.model(
        input_ids=ids, attention_mask=mask, position_ids=place.clamp_min(0), past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    stepper = RaggedStepper(target.model, [RowLayer(*parts) for parts in states(cache)], mask, lengths)
    noise = uniforms(list(keys), max_tokens).to(target.device) if temperature else None
    return decode(stepper, output.logits[:, -1].float(), Policy(temperature, max_tokens, stop_ids), noise)


def _aligned(lengths: Int[Tensor, " n"]) -> tuple[Int[Tensor, "n longest"], Int[Tensor, "n longest"]]:
    """Of prompts that end together: where each has a token, and which one."""
    longest = int(lengths.max())
    place = torch.arange(longest, device=lengths.device)[None] - (longest - lengths)[:, None]
    return (place >= 0).long(), place


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

    @classmethod
    def of_beginnings(cls, model: nn.Module, cache: DynamicCache, lengths: Int[Tensor, " n"]) -> "RaggedStepper":
        """Rows whose prompts are beginnings of one text, of which `cache` holds one row."""
        mask, place = _aligned(lengths)
        index = place.clamp_min(0)
        layers = [
            RowLayer(*(part[0][:, index].transpose(0, 1).contiguous() for part in parts)) for parts in states(cache)
        ]
        return cls(model, layers, mask, lengths)

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

    def speak(ids: Sequence[int], places: Sequence[tuple[int, str]]) -> list[tuple[str, ...]]:
        ends = [pos for pos, _ in places if pos + 1 + config.continuation_tokens <= target.context]
        said: list[tuple[str, ...]] = []
        if ends:
            found = continue_at(
                target, ids, ends,
                samples=config.continuations, max_tokens=config.continuation_tokens,
                temperature=0.0 if config.continuations == 1 else 1.0,
                keys=[place_key(config.seed, prefix, pos) for pos, prefix in places[: len(ends)]],
                stop_ids=target.end_ids,
            )  # fmt: skip
            for end, rows in zip(ends, found, strict=True):
                texts = texts_behind(target, ids[: end + 1], [row.ids for row in rows])
                said.append(
                    tuple(text + ENDED * (row.stop_id is not None) for text, row in zip(texts, rows, strict=True))
                )
        return said + [()] * (len(places) - len(ends))  # the context has no room behind the last ones

    return speak


def _check_room(target: Target, length: int, max_tokens: int) -> None:
    if not length or length + max_tokens > target.context:
        raise UsageError(
            f"cannot continue {length} tokens by {max_tokens}: expected at least 1 token, and at most "
            f"{target.context} together (the target's context).\n  Read an earlier position or ask for fewer tokens."
        )
