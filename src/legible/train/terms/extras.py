"""What the options of the joint training add to a step, put together once from the configuration.

The space of the error (`spaces`), other words (`paraphrase`), the terms of the reward. With every option off a step is
plain reconstruction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from legible.config import RLConfig
from legible.data.store import Store
from legible.languages.base import Language
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.train.loop import generator
from legible.train.rollouts import RolloutGroup
from legible.train.terms import terms_of
from legible.train.terms.base import Context, Term
from legible.train.terms.paraphrase import check_rewording, rewrite
from legible.train.terms.read_back import Wording
from legible.train.terms.spaces import Space, space_of


@dataclass(frozen=True)
class Knowledge:
    """What some options need beside the pair and the store; an option that lacks its part says so."""

    language: Language | None = None  # paraphrase, truth_reward, truth_credit; claims of claim_credit
    lookup: TokenLookup | None = None  # space residual
    target: Target | None = None  # space downstream, discrimination


@dataclass(frozen=True)
class Extras:
    """The parts that the configuration switches on."""

    context: Context
    space: Space | None  # None: direction
    terms: Sequence[Term]

    @classmethod
    def of(
        cls,
        config: RLConfig,
        store: Store,
        layer: int,
        tokenizer: PreTrainedTokenizerBase,
        knowledge: Knowledge | None = None,
        out: Path | None = None,
    ) -> "Extras":
        """The parts of a training.

        Args:
            config, store, layer: the training.
            tokenizer: the verbalizer's.
            knowledge: what the options need.
            out: the stage's folder; statistics of the store are kept there.

        Raises:
            UsageError: an option without what it needs.
            ConfigError: prices that make guessing pay.
        """
        known = knowledge or Knowledge()
        check_rewording(config.paraphrase, known.language, "rl.paraphrase")
        space = None
        if config.space != "direction":
            space = space_of(config, store, layer, out, known.lookup, known.target)
        context = Context(config, store, layer, tokenizer, known.language, known.target)
        return cls(context, space, terms_of(context))

    def reads(self, groups: Sequence[RolloutGroup], index: int) -> tuple[list[Wording], dict[str, int]]:
        """What the reconstructor reads in step `index`: every parsed explanation, and some of them in other words.

        Returns:
            The reads, and how many rollouts have a paraphrase or could not be put in other words.
        """
        reads = [
            Wording((g, r), rollout.explanation)
            for g, group in enumerate(groups)
            for r, rollout in enumerate(group.rollouts)
            if rollout.explanation is not None
        ]
        config, store, language = self.context.config, self.context.store, self.context.language
        if config.paraphrase == 0 or language is None:
            return reads, {}
        shape = len(groups), max(len(group.rollouts) for group in groups)
        draws = generator(config.seed, "paraphrase", index)
        chosen = torch.rand(shape, generator=draws) < config.paraphrase
        seeds = torch.randint(2**31, shape, generator=draws)
        rows = [store.row(group.row) for group in groups]
        both: list[Wording] = []
        counts = {"paraphrased": 0, "unparaphrased": 0}
        for read in reads:
            if not chosen[read.place]:
                both.append(read)
                continue
            other = rewrite(read.text, language, rows[read.place[0]], int(seeds[read.place]))
            counts["unparaphrased" if other is None else "paraphrased"] += 1
            both += [read] if other is None else [Wording(read.place, text, 0.5) for text in (read.text, other)]
        return both, counts
