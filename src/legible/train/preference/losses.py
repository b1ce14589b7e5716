"""Losses of offline preference training: pure functions of log-probabilities, in the papers' notation.

Every function takes `PairLogprobs` of n pairs (x, y_w, y_l): an activation x, a chosen and a rejected explanation. It
returns one loss a pair, to be averaged; nothing here runs a model. With the log-ratio r(y) = ln pi(y|x) - ln ref(y|x),
h = r(y_w) - r(y_l), and p(y) the mean log-probability of a token of y:

    DPO       -ln sigma(beta h)                                        ln 2 at pi = ref      arXiv 2305.18290, eq. 7
    IPO       (h - 1/(2 beta))^2          beta is the paper's tau      1/(4 beta^2)          arXiv 2310.12036, eq. 17
    KTO       lambda_y - v(x, y)                                       lambda/2 at z0 = 0    arXiv 2402.01306, eq. 8
    ORPO      -p(y_w) - beta ln sigma(ln odds(y_w) - ln odds(y_l))     no reference          arXiv 2403.07691, eq. 6-7
    SimPO     -ln sigma(beta p(y_w) - beta p(y_l) - gamma)             no reference          arXiv 2405.14734, eq. 6
    AlphaDPO  -ln sigma(beta p(y_w) - beta p(y_l) - sg[gamma + alpha M*])  alpha 0 is SimPO  arXiv 2410.10148
    SFT       -p(y_w)                     the rejected one plays no part; expert iteration   arXiv 2308.01825

TRL's trainers (1.16) hand token ids to the model and accept no embedded prompts, so an injected activation cannot pass
through them; hence these functions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from legible.config import PreferConfig

SMALLEST_STD = 1e-6  # of a batch's log-ratio margins: below it they are all alike and M* is 0
USUAL_BETA = {"dpo": 0.1, "ipo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0, "alphadpo": 2.5}
WITH_REFERENCE = ("dpo", "ipo", "kto", "alphadpo")

Losses = Float[Tensor, " n"]


@dataclass(frozen=True)
class PairLogprobs:
    """ln p of whole completions (sums over their tokens, the stop token included) and their numbers of tokens.

    The reference's are those of the frozen warm start; gradients flow through `chosen` and `rejected` alone.
    """

    chosen: Float[Tensor, " n"]
    rejected: Float[Tensor, " n"]
    reference_chosen: Float[Tensor, " n"]
    reference_rejected: Float[Tensor, " n"]
    chosen_tokens: Float[Tensor, " n"]
    rejected_tokens: Float[Tensor, " n"]

    @property
    def chosen_ratio(self) -> Float[Tensor, " n"]:
        """r(y_w): how much likelier than under the reference, in nats."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> Float[Tensor, " n"]:
        """r(y_l)."""
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> Float[Tensor, " n"]:
        """h = r(y_w) - r(y_l), in nats; 0 at the reference."""
        return self.chosen_ratio - self.rejected_ratio

    @property
    def chosen_mean(self) -> Float[Tensor, " n"]:
        """p(y_w): mean ln p of a token."""
        return self.chosen / self.chosen_tokens

    @property
    def rejected_mean(self) -> Float[Tensor, " n"]:
        """p(y_l): mean ln p of a token."""
        return self.rejected / self.rejected_tokens


def dpo(pairs: PairLogprobs, beta: float) -> Losses:
    """-ln sigma(beta h); at least 0, ln 2 at the reference."""
    return -F.logsigmoid(beta * pairs.margin)


def ipo(pairs: PairLogprobs, beta: float) -> Losses:
    """(h - 1/(2 beta))^2; at least 0, 1/(4 beta^2) at the reference."""
    return (pairs.margin - 1.0 / (2.0 * beta)).square()


def kto(
    pairs: PairLogprobs, beta: float, z0: Float[Tensor, ""], *, desirable: float = 1.0, undesirable: float = 1.0
) -> Losses:
    """Mean of lambda_y - v over both explanations of a pair, v of prospect theory.

    v = lambda_D sigma(beta (r(y_w) - z0)) for the chosen, lambda_U sigma(beta (z0 - r(y_l))) for the rejected one.

    Args:
        z0: the reference point, an estimate of KL(pi || ref), at least 0, without gradient (`kto_reference_point`).
        desirable, undesirable: lambda_D and lambda_U.
    """
    good = desirable * (1.0 - torch.sigmoid(beta * (pairs.chosen_ratio - z0.detach())))
    bad = undesirable * (1.0 - torch.sigmoid(beta * (z0.detach() - pairs.rejected_ratio)))
    return (good + bad) / 2.0


def kto_reference_point(mismatched_ratio: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """z0 = max(0, mean log-ratio of explanations that belong to other activations); no gradient."""
    return mismatched_ratio.detach().mean().clamp_min(0.0)


def orpo(pairs: PairLogprobs, beta: float) -> Losses:
    """Negative log-likelihood of the chosen, a token, and beta (the paper's lambda) times the odds-ratio loss.

    odds = P / (1 - P), where ln P is the mean log-probability of a token.
    """
    odds = _log_odds(pairs.chosen_mean) - _log_odds(pairs.rejected_mean)
    return -pairs.chosen_mean - beta * F.logsigmoid(odds)


def simpo(pairs: PairLogprobs, beta: float, gamma: float) -> Losses:
    """-ln sigma(beta (p(y_w) - p(y_l)) - gamma), gamma the target margin of the reward."""
    return -F.logsigmoid(beta * (pairs.chosen_mean - pairs.rejected_mean) - gamma)


def alphadpo(pairs: PairLogprobs, beta: float, gamma: float, alpha: float) -> Losses:
    """SimPO with a margin of each pair's own: gamma + alpha M*, through which no gradient flows.

    M = beta (r(y_w)/|y_w| - r(y_l)/|y_l|) and M* its z-score over these n pairs; 0 where all are alike. The authors'
    code keeps a running mean and deviation and scales alpha by beta; here both stand as in the formula above.
    """
    margin = pairs.chosen_ratio / pairs.chosen_tokens - pairs.rejected_ratio / pairs.rejected_tokens
    m = beta * margin.detach()
    spread = m.std(correction=0)
    score = (m - m.mean()) / spread.clamp_min(SMALLEST_STD) if spread > SMALLEST_STD else torch.zeros_like(m)
    return -F.logsigmoid(beta * (pairs.chosen_mean - pairs.rejected_mean) - (gamma + alpha * score))


def preference_loss(config: PreferConfig) -> Callable[[PairLogprobs, Float[Tensor, ""]], Losses]:
    """The configured loss as a function of (pairs, z0); z0 is read by KTO alone."""
    beta, gamma = usual_beta(config), config.gamma
    losses: dict[str, Callable[[PairLogprobs, Tensor], Losses]] = {
        "dpo": lambda pairs, _: dpo(pairs, beta),
        "ipo": lambda pairs, _: ipo(pairs, beta),
        "kto": lambda pairs, z0: kto(
            pairs, beta, z0, desirable=config.desirable_weight, undesirable=config.undesirable_weight
        ),
        "orpo": lambda pairs, _: orpo(pairs, beta),
        "simpo": lambda pairs, _: simpo(pairs, beta, gamma),
        "alphadpo": lambda pairs, _: alphadpo(pairs, beta, gamma, config.alpha),
        "sft": lambda pairs, _: -pairs.chosen_mean,
    }
    return losses[config.loss]


def usual_beta(config: PreferConfig) -> float:
    """The configured beta, or the one usual for the loss; 0 for `sft`, which has none."""
    return config.beta if config.beta is not None else USUAL_BETA.get(config.loss, 0.0)


def _log_odds(logp: Tensor) -> Tensor:
    """ln(P / (1 - P)) from ln P < 0; ln(1 - P) by expm1, which is exact where P is near 1."""
    below = logp.clamp_max(-1e-6)  # a certain completion has infinite odds
    return below - torch.log(-torch.expm1(below))
