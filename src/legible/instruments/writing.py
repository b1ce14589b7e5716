"""What the untrained target writes after a prompt that holds a vector: the machinery of Patchscopes and SelfIE.

A verbalizer is trained to say what a vector holds; these instruments ask the target itself. A prompt has one or more
places for the vector; the target then writes on, greedily. Nothing here scores what is written: such a text is no
evidence that the vector holds what the text says.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from legible.engines.cached import extend, shared_prefix, spread
from legible.engines.decode import Policy, decode
from legible.engines.direct import fastest_stepper
from legible.errors import InjectionError, UsageError
from legible.injection import replace_at, scale_vector
from legible.instruments.base import BATCH, check_width
from legible.models.arch import check_layer
from legible.models.target import Target

PLACE = "<<VECTOR>>"
"""Where the vector goes in an instrument's text."""


@dataclass(frozen=True)
class PlacedPrompt:
    """Token ids with places for the vector: `places` are ascending indices into `ids`, at least one."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


def placed_prompt(tokenizer: PreTrainedTokenizerBase, text: str, filler: str, copies: int = 1) -> PlacedPrompt:
    """A text with `PLACE` in it, as ids.

    The two halves are tokenized apart, so that no border merges with the place. A text without chat markup gets the
    special tokens that the tokenizer puts before every text; one rendered by a chat template holds its own.

    Args:
        tokenizer: the target's.
        text: holds `PLACE` once.
        filler: what stands at the place in the blocks before the vector does; its last token is used.
        copies: how many tokens the place has.

    Raises:
        InjectionError: the text has not exactly one place.
    """
    if text.count(PLACE) != 1:
        raise InjectionError(
            f"the prompt holds {PLACE} {text.count(PLACE)} times, expected 1.\n"
            "  The usual cause is a chat template that changes its messages. Give the text of the prompt without it."
        )
    before, _, after = text.partition(PLACE)
    start = () if tokenizer.chat_template else _leading(tokenizer)
    head = (*start, *_plain(tokenizer, before))
    places = tuple(range(len(head), len(head) + copies))
    return PlacedPrompt((*head, *_plain(tokenizer, filler)[-1:] * copies, *_plain(tokenizer, after)), places)


def as_chat(tokenizer: PreTrainedTokenizerBase, request: str, answer: str) -> str | None:
    """The request in a user's turn and the beginning of the model's answer; None without a chat template."""
    if not tokenizer.chat_template:
        return None
    rendered: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": request}], tokenize=False, add_generation_prompt=True
    )
    return f"{rendered}{answer}"


@torch.no_grad()
def written_after(
    target: Target,
    prompt: PlacedPrompt,
    vectors: Float[Tensor, "n d_model"],
    *,
    block: int | None,
    max_tokens: int,
) -> list[str]:
    """What the target writes after a prompt that holds a vector, greedily.

    Args:
        target: the model.
        prompt: ids and the vector's places.
        vectors: one a prompt.
        block: the vector replaces the stream after this block, as it is; None: it replaces the embedding, scaled to
            the mean length of the target's token embeddings.
        max_tokens: most tokens written, the stop token counted.

    Returns:
        Decoded texts, special tokens left out.

    Raises:
        UsageError: a block or width that the target does not have, or a prompt that does not fit its context.
    """
    _check(target, prompt, vectors, block, max_tokens)
    ids = torch.tensor(prompt.ids, device=target.device)
    first = prompt.places[0]
    prefix = shared_prefix(target.model, ids[:first])
    rest = target.arch.embed(ids[None, first:])
    places = [place - first for place in prompt.places]
    policy = Policy(0.0, max_tokens, target.end_ids)
    texts: list[str] = []
    for chunk in vectors.to(target.device).split(BATCH):
        cache = spread(prefix, len(chunk))
        embeds = rest.expand(len(chunk), -1, -1)
        if block is None:
            embeds = _placed(embeds, places, scale_vector(chunk, embedding_norm(target)))
        with _patched(target, block, places, chunk):
            logits = extend(target.model, cache, embeds=embeds)
        stepper = fastest_stepper(target.model, cache, torch.arange(len(chunk), device=target.device), max_tokens)
        texts += [
            str(target.tokenizer.decode(row.ids, skip_special_tokens=True))
            for row in decode(stepper, logits, policy, None)
        ]
    return texts


def embedding_norm(target: Target) -> float:
    """Mean length of a token embedding as the first block reads it."""
    return float(target.arch.embedding.weight.float().norm(dim=-1).mean()) * target.arch.embedding_scale


@contextmanager
def _patched(target: Target, block: int | None, places: list[int], vectors: Tensor) -> Iterator[None]:
    """Inside the `with`, the stream after `block` is the vectors at these places of the piece that runs."""
    if block is None:
        yield
        return

    def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        return _placed(output, places, vectors)

    handle = target.arch.blocks[block].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _placed(hidden: Tensor, places: list[int], vectors: Tensor) -> Tensor:
    for place in places:
        hidden = replace_at(hidden, torch.full((len(vectors),), place, device=hidden.device), vectors)
    return hidden


def _check(target: Target, prompt: PlacedPrompt, vectors: Tensor, block: int | None, max_tokens: int) -> None:
    check_width(target, vectors)
    if block is not None:
        check_layer(block, target.n_layers)
    if len(prompt.ids) + max_tokens > target.context:
        raise UsageError(
            f"a prompt of {len(prompt.ids)} tokens and {max_tokens} new ones do not fit the context of {target.name}, "
            f"{target.context} tokens.\n  Use --method logit-lens, which needs no prompt."
        )


def _leading(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Special tokens that the tokenizer puts before a text."""
    whole, bare = list(tokenizer("a")["input_ids"]), _plain(tokenizer, "a")
    return tuple(whole[: next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)])


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
