"""Preference pairs: a better and a worse explanation of one activation, picked from sampled candidates.

A verbalizer that learns "longer is better" has learned nothing, so pairs are balanced in length by construction: the
two lengths of a pair lie within a window, and over all pairs a price on the difference, found by bisection,
brings its sum to nearly nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from legible.config import PreferConfig
from legible.errors import TrainingError
from legible.fileio import finite, write_json, write_text
from legible.train.preference.candidates import Candidate

_BISECTIONS = 60


@dataclass(frozen=True)
class RankedPair:
    """A better and a worse explanation of one activation; `gap` is by how much, in the ranking's own unit."""

    row: int
    chosen: Candidate
    rejected: Candidate
    gap: float

    @property
    def difference(self) -> int:
        """Tokens of the chosen less those of the rejected one."""
        return len(self.chosen.ids) - len(self.rejected.ids)


def pick_pairs(
    candidates: Mapping[int, Sequence[Candidate]], config: PreferConfig
) -> tuple[list[RankedPair], dict[str, Any]]:
    """At most one pair an activation: the widest gap under a common price on the difference in length.

    Returns:
        The pairs in order of their rows, and what was counted, with the mean of both sides.

    Raises:
        TrainingError: no activation has two explanations that differ in rank and hardly in length.
    """
    options = {row: _options(row, sampled, config) for row, sampled in sorted(candidates.items())}
    offered = [offers for offers in options.values() if offers]
    pairs = _balanced(offered, config.length_balance)
    if not pairs:
        raise TrainingError(
            f"no pair among the explanations of {len(candidates)} activations: none differ in rank and at most "
            f"{config.length_window:.0%} in length.\n"
            "  The usual cause is a warm start that writes one text for every vector, or never stops.\n"
            "  Raise --temperature, --samples or --length-window."
        )
    return pairs, _counts(candidates, offered, pairs)


def write_pairs(path: Path, pairs: Sequence[RankedPair], counts: Mapping[str, Any]) -> None:
    """Save pairs as JSON lines, and the counts beside them as `….meta.json`; atomic."""
    lines = [
        {"row": pair.row, "gap": pair.gap, "chosen": asdict(pair.chosen), "rejected": asdict(pair.rejected)}
        for pair in pairs
    ]
    write_json(path.with_name(path.name + ".meta.json"), counts)
    write_text(path, "".join(json.dumps(finite(line), ensure_ascii=False) + "\n" for line in lines))


def _options(row: int, sampled: Sequence[Candidate], config: PreferConfig) -> list[RankedPair]:
    """Every pair of an activation's explanations that the ranking and the window allow."""
    parsed = list({tuple(one.ids): one for one in sampled if one.text is not None}.values())
    if len(parsed) < 2:
        return []
    closeness = np.array([-(one.direction_mse or 0.0) for one in parsed])
    truth = np.array([float(one.truth) for one in parsed])
    options = []
    for better, worse in permutations(range(len(parsed)), 2):
        lengths = len(parsed[better].ids), len(parsed[worse].ids)
        if abs(lengths[0] - lengths[1]) > config.length_window * max(lengths):
            continue
        closer, truer = closeness[better] - closeness[worse], truth[better] - truth[worse]
        if config.rank_by == "both":
            allowed = min(closer, truer) >= 0 and max(closer, truer) > 0
            gap = sum(part / spread for part, spread in ((closer, closeness.std()), (truer, truth.std())) if spread > 0)
        else:
            gap = closer if config.rank_by == "mse" else truer
            allowed = gap > 0
        if allowed:
            options.append(RankedPair(row, parsed[better], parsed[worse], float(gap)))
    return options


def _balanced(offered: Sequence[Sequence[RankedPair]], balance: float) -> list[RankedPair]:
    """One option of each activation such that the lengths of both sides add up to nearly the same."""
    gaps = [np.array([option.gap for option in offers]) for offers in offered]
    differences = [np.array([option.difference for option in offers]) for offers in offered]

    def at(price: float) -> list[RankedPair]:
        picked = (int(np.argmax(gap - price * more)) for gap, more in zip(gaps, differences, strict=True))
        return [offers[place] for offers, place in zip(offered, picked, strict=True)]

    pairs = at(0.0)
    if not pairs or _share(pairs) <= balance:
        return pairs
    sign = np.sign(_excess(pairs))
    low, high = 0.0, float(np.mean([gap.max() for gap in gaps]))
    while _excess(at(sign * high)) * sign > 0 and high < 1e9:  # the excess falls as the price rises
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _excess(at(sign * middle)) * sign > 0 else (low, middle)
    return _trimmed(min((at(sign * low), at(sign * high)), key=_share), balance)


def _trimmed(pairs: list[RankedPair], balance: float) -> list[RankedPair]:
    """Drop pairs on the longer side, the narrowest gap for its tokens first, until the balance holds."""
    while pairs and _share(pairs) > balance:
        sign = np.sign(_excess(pairs))
        guilty = [pair for pair in pairs if pair.difference * sign > 0]
        worst = min(guilty, key=lambda pair: (pair.gap / abs(pair.difference), pair.row))
        pairs = [pair for pair in pairs if pair is not worst]
    return pairs


def _excess(pairs: Sequence[RankedPair]) -> int:
    return sum(pair.difference for pair in pairs)


def _share(pairs: Sequence[RankedPair]) -> float:
    """The summed difference in length as a share of one side's summed length."""
    both = sum(len(pair.chosen.ids) + len(pair.rejected.ids) for pair in pairs)
    return abs(_excess(pairs)) / (both / 2)


def _counts(
    candidates: Mapping[int, Sequence[Candidate]], offered: Sequence[Sequence[RankedPair]], pairs: Sequence[RankedPair]
) -> dict[str, Any]:
    everything = [one for sampled in candidates.values() for one in sampled]
    sides = {"chosen": [pair.chosen for pair in pairs], "rejected": [pair.rejected for pair in pairs]}
    judged = all(pair.chosen.true is not None for pair in pairs)
    mean = lambda values: float(np.mean(list(values)))
    return {
        "activations": len(candidates),
        "samples": len(everything),
        "parse_failures": sum(one.text is None for one in everything),
        "activations_without_pair": len(candidates) - len(offered),
        "dropped_for_length": len(offered) - len(pairs),
        "pairs": len(pairs),
        "length_difference": _excess(pairs) / (sum(len(one.ids) for one in sides["rejected"])),
    } | {
        side: {
            "tokens": mean(len(one.ids) for one in sampled),
            "direction_mse": mean(one.direction_mse for one in sampled),
            **(
                {"true": mean(one.true for one in sampled), "wrong": mean(one.wrong for one in sampled)}
                if judged
                else {}
            ),
        }
        for side, sampled in sides.items()
    }
