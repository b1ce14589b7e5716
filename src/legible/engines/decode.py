"""The decoding loop: rows in lockstep, finished rows dropped.

All rows of a batch have prompts of one length, so they share one position and need no padding. When rows stop,
the last rows move into their places and the batch shrinks; nothing else is copied.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.engines.base import StopReason
from legible.engines.sampling import choose
from legible.models.outputs import Outputs


class Stepper(Protocol):
    """A model in the middle of a batch: it remembers what each row has written."""

    def step(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """Append one token to every row and return the logits of the next."""
        ...

    def drop(self, holes: Int[Tensor, " k"], movers: Int[Tensor, " k"], n: int) -> None:
        """Move rows `movers` into the places `holes`, then keep the first `n` rows."""
        ...


@dataclass(frozen=True)
class Policy:
    """How tokens are chosen and when a row ends.

    `outputs` says which ids the logits are of, where they are not of the whole vocabulary; stop and banned ids, and all
    that is written, are token ids.
    """

    temperature: float
    max_tokens: int
    stop_ids: Collection[int]
    banned_ids: Collection[int] = ()
    outputs: Outputs | None = None


@dataclass(frozen=True)
class Written:
    """What one row wrote: ids without the stop token, ln p of each and of the stop token."""

    ids: list[int]
    logprobs: list[float]
    stop: StopReason
    stop_id: int | None


def decode(
    stepper: Stepper,
    logits: Float[Tensor, "n out"],
    policy: Policy,
    noise: Float[Tensor, "n steps"] | None,
) -> list[Written]:
    """Run `stepper` from its first logits until every row has stopped or `max_tokens` are written.

    Args:
        stepper: holds the prompt of all n rows.
        logits: of the first token of each row, float32.
        policy: temperature, length, stop and banned ids.
        noise: uniform numbers, needed above temperature 0 (`legible.engines.sampling.uniforms`).

    Returns:
        One `Written` for each row, in the order of `logits`.
    """
    n = len(logits)
    stop_ids = torch.tensor(sorted(policy.stop_ids), dtype=torch.long, device=logits.device)
    outputs = policy.outputs
    refused = sorted(policy.banned_ids) if outputs is None else outputs.present(policy.banned_ids)
    banned = torch.tensor(refused, dtype=torch.long, device=logits.device)
    ids = np.zeros((n, policy.max_tokens), dtype=np.int64)
    logprobs = np.zeros((n, policy.max_tokens), dtype=np.float32)
    lengths = np.full(n, policy.max_tokens)
    rows = torch.arange(n, device=logits.device)
    for step in range(policy.max_tokens):
        if len(banned):
            logits = logits.index_fill(-1, banned, float("-inf"))
        tokens, logp = choose(logits, policy.temperature, None if noise is None else noise[rows, step])
        tokens = tokens if outputs is None else outputs.to_ids(tokens)
        where = rows.cpu().numpy()
        ids[where, step], logprobs[where, step] = tokens.cpu().numpy(), logp.cpu().numpy()
        stopped = torch.isin(tokens, stop_ids)
        if stopped.any():
            lengths[where[stopped.cpu().numpy()]] = step
            rows, tokens = _drop(stepper, rows, tokens, stopped)
        if not len(rows) or step + 1 == policy.max_tokens:
            break
        logits = stepper.step(tokens)
    return [_written(ids[row], logprobs[row], int(lengths[row])) for row in range(n)]


def _drop(stepper: Stepper, rows: Tensor, tokens: Tensor, stopped: Tensor) -> tuple[Tensor, Tensor]:
    n = int((~stopped).sum())
    holes = stopped[:n].nonzero()[:, 0]
    movers = (~stopped[n:]).nonzero()[:, 0] + n
    rows[holes], tokens[holes] = rows[movers], tokens[movers]
    if n:
        stepper.drop(holes, movers, n)
    return rows[:n], tokens[:n]


def _written(ids: np.ndarray, logprobs: np.ndarray, length: int) -> Written:
    if length == len(ids):
        return Written(ids.tolist(), logprobs.tolist(), "length", None)
    return Written(ids[:length].tolist(), logprobs[: length + 1].tolist(), "stop", int(ids[length]))
