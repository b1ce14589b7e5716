"""Continuations of a target whose layer-K stream is changed on the way: steering, and patching as its ceiling.

The prompt up to the first changed token is computed once and shared by all rows; each row has its own vector, so
strengths and controls share a batch. Two ways to change the stream:
    continue_steered   adds a vector at one token, or at it and all later ones, those it writes itself included
    continue_patched   gives it, at a token and all later ones, the activations of another text, which reads the
                       same continuation: what the change would be if the other text had been there
Both run the model's own forward with hooks on block K, so every family that Legible knows works.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from legible.engines.cached import CachedStepper, extend, shared_prefix, spread
from legible.engines.decode import Policy, decode
from legible.engines.sampling import uniforms
from legible.errors import UsageError
from legible.models.arch import check_layer
from legible.models.target import Target

_LOGITS = 2**24  # most logits held at once while a continuation is scored

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Writing:
    """How continuations are written. `temperature` 0 takes the likeliest token; `seed` decides every draw."""

    max_tokens: int = 60
    temperature: float = 0.0
    seed: int = 0
    stop_ids: Collection[int] = ()


@torch.no_grad()
def continue_steered(
    target: Target,
    ids: Sequence[int],
    layer: int,
    start: int,
    vectors: Float[Tensor, "n d_model"],
    *,
    later: bool = True,
    samples: int = 1,
    writing: Writing | None = None,
) -> list[list[list[int]]]:
    """Continue a text once a vector and sample, the vector added to the stream after block `layer`.

    Args:
        target: the model under study; its weights stay as they are.
        ids: the text, special tokens included.
        layer: K, the block after which the vector is added.
        start: the token of `ids` at which it is first added.
        vectors: one per row, already scaled; zeros give the untouched continuation.
        later: add at every later token too, those being written included; False: at `start` alone.
        samples: continuations of each vector; sample i draws the same numbers under every vector.
        writing: length, temperature, seed and stop tokens.

    Returns:
        For every vector `samples` lists of token ids, without the stop token.

    Raises:
        UsageError: `layer` or `start` is not there, or the context has no room for `max_tokens`.
    """
    writing = writing or Writing()
    _check(target, ids, layer, start, writing.max_tokens)
    rows = vectors.to(target.device).repeat_interleave(samples, 0)
    prompt = torch.tensor([list(ids)], device=target.device)
    addition = _Addition(rows, later)
    with _changed(target, layer, addition.change):
        cache, logits = _prompted(target, prompt, start, len(rows), addition.switch)
        stepper = _Steered(CachedStepper(target.model, cache, torch.arange(len(rows)), writing.max_tokens), addition)
        written = _decode(stepper, logits, samples, writing)
    return [written[first : first + samples] for first in range(0, len(rows), samples)]


@torch.no_grad()
def continue_patched(
    target: Target,
    ids: Sequence[int],
    others: Sequence[Sequence[int]],
    layer: int,
    start: int,
    *,
    samples: int = 1,
    writing: Writing | None = None,
) -> list[list[list[int]]]:
    """Continue `ids` with the layer-K stream of other texts in place of the text's, from `start` on.

    The other text reads every token that is written, so that the activations are its own true ones at later tokens
    as well; blocks up to K keep their own keys and values, those above see the other text from `start` on.

    Args:
        others: texts of as many tokens as `ids`; equal to it, the continuation is the untouched one.

    Returns:
        For every other text `samples` lists of token ids, without the stop token.

    Raises:
        UsageError: as for `continue_steered`; or a text of another length.
    """
    writing = writing or Writing()
    _check(target, ids, layer, start, writing.max_tokens)
    if any(len(other) != len(ids) for other in others):
        raise UsageError(
            f"{sorted({len(other) for other in others})} tokens cannot be patched into {len(ids)}.\n"
            "  Positions must correspond: change words for words of as many tokens."
        )
    n = len(others) * samples
    device = target.device
    lender_ids = torch.tensor([list(other) for other in others], device=device).repeat_interleave(samples, 0)
    lent = _Lent()
    lender_cache = DynamicCache()
    with _changed(target, layer, lent.keep):
        extend(target.model, lender_cache, ids=lender_ids)
    lent.stream = lent.stream[:, start:]
    with _changed(target, layer, lent.give):
        prompt = torch.tensor([list(ids)], device=device)
        cache, logits = _prompted(target, prompt, start, n, lent.switch)
    index = torch.arange(n)
    patched, lender = (CachedStepper(target.model, each, index, writing.max_tokens) for each in (cache, lender_cache))
    stepper = _Lockstep(target, layer, patched, lender, lent)
    written = _decode(stepper, logits, samples, writing)
    return [written[first : first + samples] for first in range(0, n, samples)]


@torch.no_grad()
def nats_per_token(target: Target, ids: Sequence[int], written: Sequence[Sequence[int]]) -> list[float | None]:
    """Mean −ln p of each continuation's tokens under the untouched target; None for one of no tokens.

    Low is fluent: it is what the target would itself have said. Above zero for everything, and higher for what it finds
    odd, a changed fact included.
    """
    nats: list[float | None] = [None] * len(written)
    rows = [row for row, tokens in enumerate(written) if len(tokens)]
    if not rows:
        return nats
    prefix = shared_prefix(target.model, torch.tensor(list(ids[:-1]), dtype=torch.long, device=target.device))
    longest = max(len(written[row]) for row in rows)
    size = max(1, _LOGITS // (longest * target.arch.embedding.num_embeddings))
    for first in range(0, len(rows), size):
        chunk = rows[first : first + size]
        width = max(len(written[row]) for row in chunk)
        seen = torch.zeros(len(chunk), width + 1, dtype=torch.long)
        for place, row in enumerate(chunk):
            seen[place, : len(written[row]) + 1] = torch.tensor([ids[-1], *written[row]])
        logp = _logprobs(target, prefix, len(ids) - 1, seen.to(target.device)).cpu()
        for place, row in enumerate(chunk):
            nats[row] = float(-logp[place, : len(written[row])].mean())
    return nats


def _logprobs(target: Target, prefix: DynamicCache, start: int, seen: Int[Tensor, "n t"]) -> Float[Tensor, "n t-1"]:
    """ln p of every token but the first, behind a shared prefix; tokens after a row's end harm none before it."""
    cache = spread(prefix, len(seen))
    where = torch.arange(start, start + seen.shape[1] - 1, device=seen.device)[None]
    logits = target.model(input_ids=seen[:, :-1], past_key_values=cache, position_ids=where, use_cache=True).logits
    return torch.log_softmax(logits.float(), -1).gather(-1, seen[:, 1:, None])[..., 0]


class _Addition:
    """One vector per row, added while it is switched on."""

    def __init__(self, vectors: Tensor, later: bool) -> None:
        self.vectors = vectors
        self.later = later
        self.active = False
        self.first = True

    def switch(self, on: bool) -> None:
        self.active = on

    def change(self, stream: Tensor) -> Tensor:
        if not self.active or not (self.later or self.first):
            return stream
        added = self.vectors.to(stream.dtype)[:, None]
        if not self.later:
            added = nn.functional.pad(added, (0, 0, 0, stream.shape[1] - 1))
        self.first = False
        return stream + added

    def drop(self, holes: Tensor, movers: Tensor, n: int) -> None:
        vectors = self.vectors.clone()
        vectors[holes] = vectors[movers]
        self.vectors = vectors[:n]


class _Steered:
    """A stepper whose vectors move with its rows."""

    def __init__(self, inner: CachedStepper, addition: _Addition) -> None:
        self.inner = inner
        self.addition = addition

    def step(self, tokens: Tensor) -> Tensor:
        return self.inner.step(tokens)

    def drop(self, holes: Tensor, movers: Tensor, n: int) -> None:
        self.inner.drop(holes, movers, n)
        self.addition.drop(holes, movers, n)


class _Lent:
    """The stream that one forward leaves and the next one takes."""

    def __init__(self) -> None:
        self.stream = torch.zeros(0)
        self.active = False

    def switch(self, on: bool) -> None:
        self.active = on

    def keep(self, stream: Tensor) -> Tensor:
        self.stream = stream
        return stream

    def give(self, stream: Tensor) -> Tensor:
        return self.stream if self.active else stream


class _Lockstep:
    """Two steppers over the same tokens: the lender's stream goes into the other one."""

    def __init__(self, target: Target, layer: int, own: CachedStepper, lender: CachedStepper, lent: _Lent) -> None:
        self.target, self.layer, self.own, self.lender, self.lent = target, layer, own, lender, lent

    def step(self, tokens: Tensor) -> Tensor:
        with _changed(self.target, self.layer, self.lent.keep):
            self.lender.step(tokens)
        with _changed(self.target, self.layer, self.lent.give):
            return self.own.step(tokens)

    def drop(self, holes: Tensor, movers: Tensor, n: int) -> None:
        self.own.drop(holes, movers, n)
        self.lender.drop(holes, movers, n)


@contextmanager
def _changed(target: Target, layer: int, change: Change) -> Iterator[None]:
    """Inside the `with` block K hands on `change(stream)`."""
    handle = target.arch.blocks[layer].register_forward_hook(lambda _module, _args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def _prompted(
    target: Target, prompt: Int[Tensor, "1 t"], start: int, n: int, switch: Callable[[bool], None]
) -> tuple[DynamicCache, Float[Tensor, "n vocab"]]:
    """The prompt's keys and values for n rows, the change switched on from `start`, and the next token's logits."""
    cache = spread(shared_prefix(target.model, prompt[0, :start]), n)
    switch(True)
    return cache, extend(target.model, cache, ids=prompt[:, start:].expand(n, -1))


def _decode(
    stepper: "_Steered | _Lockstep", logits: Float[Tensor, "n vocab"], samples: int, writing: Writing
) -> list[list[int]]:
    keys = [(writing.seed, 0, row % samples) for row in range(len(logits))]
    noise = uniforms(keys, writing.max_tokens).to(logits.device)
    policy = Policy(writing.temperature, writing.max_tokens, writing.stop_ids)
    return [row.ids for row in decode(stepper, logits, policy, noise)]


def _check(target: Target, ids: Sequence[int], layer: int, start: int, max_tokens: int) -> None:
    check_layer(layer, target.n_layers)
    if not 0 <= start < len(ids):
        raise UsageError(f"token {start} is not among the {len(ids)} of the text, counted from 0.")
    if max_tokens < 1 or len(ids) + max_tokens > target.context:
        raise UsageError(
            f"cannot continue {len(ids)} tokens by {max_tokens}: expected at least 1 token, and at most "
            f"{target.context} together (the target's context).\n  Shorten the text or ask for fewer tokens."
        )
