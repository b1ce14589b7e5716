"""The target's own continuation, token by token: the draws of `legible.engines.continuations`, handed out early."""

from collections.abc import Collection, Iterator, Sequence

import torch
from transformers import DynamicCache

from legible.engines.base import Key
from legible.engines.cached import extend
from legible.engines.direct import fastest_stepper
from legible.engines.sampling import choose, uniforms
from legible.models.target import Target
from legible.serve.sources import Source
from legible.serve.work import Work

_TURN = 8  # tokens written before others get their turn
_CONTEXT = 8  # tokens of the prompt that are decoded with the continuation
_INCOMPLETE = "\ufffd"  # a character whose other tokens are still to come


def next_tokens(
    target: Target, ids: Sequence[int], *, max_tokens: int, temperature: float, key: Key, stop_ids: Collection[int]
) -> Iterator[int]:
    """One sampled continuation of `ids`, a token at a time; a stop token ends it and is left out."""
    cache = DynamicCache()
    logits = extend(target.model, cache, ids=torch.tensor([list(ids)], device=target.device))
    stepper = fastest_stepper(target.model, cache, torch.zeros(1, dtype=torch.long, device=target.device), max_tokens)
    noise = uniforms([(*key, 0)], max_tokens).to(target.device) if temperature else None
    for step in range(max_tokens):
        tokens, _ = choose(logits, temperature, None if noise is None else noise[:, step])
        if int(tokens) in stop_ids:
            return
        yield int(tokens)
        if step + 1 < max_tokens:
            logits = stepper.step(tokens)


def complete_work(
    source: Source,
    text: str | None,
    turns: Sequence[tuple[str, str]] | None,
    *,
    max_tokens: int,
    temperature: float,
    seed: int = 0,
) -> Work:
    """What the target says next: a `prompt` frame with the prompt's tokens, `token` frames, an `end` frame.

    The end frame holds the completion's text and the whole text, which reads to the same tokens again.

    Raises:
        RequestError, UsageError: from the first step, before any frame.
    """
    target = source.target
    prompt = source.read_prompt(text, turns, room=max_tokens)
    yield {
        "type": "prompt",
        "source": source.id,
        "prompt_length": len(prompt.encoded.ids),
        "text": prompt.text,
        "tokens": source.tokens(prompt),
    }
    before = prompt.encoded.ids
    ids: list[int] = []
    said = ""
    for token in next_tokens(
        target, before, max_tokens=max_tokens, temperature=temperature, key=(seed, 0), stop_ids=target.end_ids
    ):
        ids.append(token)
        whole = continuation(source, before, ids)
        more = "" if whole.endswith(_INCOMPLETE) else whole[len(said) :]
        said += more
        yield {"type": "token", "pos": len(before) + len(ids) - 1, "token": more, "token_id": token}
        if len(ids) % _TURN == 0:
            yield None
    completion = continuation(source, before, ids)
    yield {
        "type": "end",
        "completion": completion,
        "full_text": source.without_start(prompt.text) + completion if turns is not None else prompt.text + completion,
        "completion_ids": ids,
        "stopped": len(ids) < max_tokens,
    }


def continuation(source: Source, before: Sequence[int], ids: Sequence[int]) -> str:
    """The text of `ids` after `before`; a decoder drops the space before the first word of what it is given."""
    context = list(before[-_CONTEXT:])
    opening, whole = _decoded(source, context), _decoded(source, [*context, *ids])
    return whole[len(opening) :] if whole.startswith(opening) else _decoded(source, ids)


def _decoded(source: Source, ids: Sequence[int]) -> str:
    return str(source.target.tokenizer.decode(list(ids), skip_special_tokens=True))
