"""Rollouts: sampled explanations of activations, and what the update needs of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.data.batches import length_grouped_batches, pad
from legible.engines.base import Completion, Engine, Key, StopReason
from legible.train.loop import generator

Place = tuple[int, int]
"""(group, rollout): a rollout of a step."""


@dataclass(frozen=True)
class Rollout:
    """One sampled explanation.

    ids: completion tokens, the stop token included where there is one; logprobs: ln p of each at sampling time.
    """

    ids: list[int]
    logprobs: list[float]
    explanation: str | None
    stop: StopReason


@dataclass(frozen=True)
class RolloutGroup:
    """The rollouts of one activation; `row` is its row in the store."""

    row: int
    rollouts: list[Rollout]


def roll_out(
    engine: Engine,
    vectors: Float[Tensor, "p d"],
    rows: Sequence[int],
    keys: Sequence[Key],
    *,
    group: int,
    temperature: float,
    max_tokens: int,
) -> list[RolloutGroup]:
    """Sample `group` explanations of each vector, which is a row of a store; a row's key decides its draws."""
    written = engine.generate(vectors, keys, samples=group, temperature=temperature, max_tokens=max_tokens)
    return [
        RolloutGroup(row, [_rollout(completion) for completion in completions])
        for row, completions in zip(rows, written, strict=True)
    ]


def _rollout(completion: Completion) -> Rollout:
    ids = list(completion.ids) if completion.stop_id is None else [*completion.ids, completion.stop_id]
    return Rollout(ids, completion.logprobs, completion.explanation, completion.stop)


@dataclass(frozen=True)
class RolloutBatch:
    """Rollouts as tensors, padded on the right."""

    ids: Int[Tensor, "n l"]
    mask: Bool[Tensor, "n l"]
    logprobs: Float[Tensor, "n l"]  # at sampling time, 0 where masked


def as_batch(rollouts: Sequence[Rollout]) -> RolloutBatch:
    """Pad rollouts into one batch."""
    ids, mask = pad([rollout.ids for rollout in rollouts])
    logprobs = torch.zeros(ids.shape)
    for row, rollout in enumerate(rollouts):
        logprobs[row, : len(rollout.ids)] = torch.tensor(rollout.logprobs)
    return RolloutBatch(ids, mask.bool(), logprobs)


@dataclass(frozen=True)
class Scored:
    """The rollouts of one step that carry signal, flat, with what the update needs."""

    rollouts: list[Rollout]
    groups: list[int]  # group of each rollout
    vectors: Float[Tensor, "n d"]
    advantage: Float[Tensor, " n"]
    of_tokens: list[Float[Tensor, " l"]] | None = None  # advantages of single tokens, to be added

    def token_advantage(self, part: Sequence[int]) -> Float[Tensor, "..."]:
        """Advantages of some rollouts: one each [n], or where claims have their own one per token [n, l], padded."""
        if self.of_tokens is None:
            return self.advantage[list(part)]
        return padded([self.advantage[i] + self.of_tokens[i] for i in part])


def scored_rollouts(
    groups: Sequence[RolloutGroup],
    vectors: Float[Tensor, "p d"],
    advantage: Float[Tensor, "p g"],
    signal: Bool[Tensor, " p"],
    of_tokens: Mapping[Place, Float[Tensor, " l"]] | None = None,
) -> Scored:
    """Flatten the groups whose rewards differ; the others are left out of the update.

    Args:
        groups, vectors, advantage: of the whole step.
        signal: which groups stay.
        of_tokens: further advantages of single tokens, by (group, rollout); rollouts without an entry have none.
    """
    places = [(g, r) for g, group in enumerate(groups) if signal[g] for r in range(len(group.rollouts))]
    of = torch.tensor([g for g, _ in places])
    return Scored(
        [groups[g].rollouts[r] for g, r in places],
        [g for g, _ in places],
        vectors[of],
        advantage[of, torch.tensor([r for _, r in places])],
        None
        if of_tokens is None
        else [of_tokens.get((g, r), torch.zeros(len(groups[g].rollouts[r].ids))) for g, r in places],
    )


def prompt_rows(rows: int, prompts: int, seed: int, step: int) -> list[int]:
    """Rows of the store that step `step` reads: every row once before any row twice."""
    per_epoch = rows // prompts
    order = torch.randperm(rows, generator=generator(seed, "prompts", step // per_epoch))
    start = (step % per_epoch) * prompts
    return [int(row) for row in order[start : start + prompts]]


def minibatches(groups: Sequence[int], parts: int, seed: int, index: int) -> list[list[int]]:
    """Rollouts in at most `parts` parts; a group is never divided."""
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=generator(seed, "minibatches", index)).tolist()
    part_of = {names[name]: place * parts // len(names) for place, name in enumerate(order)}
    parts_of: list[list[int]] = [[] for _ in range(parts)]
    for i, group in enumerate(groups):
        parts_of[part_of[group]].append(i)
    return [part for part in parts_of if part]


def micro_batches(scored: Scored, part: Sequence[int], tokens: int) -> list[list[int]]:
    """The rollouts of a part in batches of similar length, at most `tokens` padded tokens each."""
    lengths = [len(scored.rollouts[i].ids) for i in part]
    return [[part[i] for i in batch] for batch in length_grouped_batches(lengths, tokens, 0, 0)]


def padded(rows: Sequence[Float[Tensor, " l"]]) -> Float[Tensor, "n l"]:
    """Stack rows of different lengths, 0 on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
