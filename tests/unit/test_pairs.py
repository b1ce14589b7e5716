"""Pairs of explanations: what ranks them, and that length does not."""

import json

import numpy as np
import pytest

from legible.config import PreferConfig
from legible.errors import TrainingError
from legible.train.preference.candidates import Candidate
from legible.train.preference.pairs import pick_pairs, write_pairs


def candidate(length: int, mse: float, true: int = 0, wrong: int = 0, first: int = 0) -> Candidate:
    return Candidate([first, *range(1, length)], f"text {first}", mse, true, wrong)


def crowd(rows: int = 200, samples: int = 8, seed: int = 0) -> dict[int, list[Candidate]]:
    """Candidates whose longer explanations are much better: an unbalanced choice would learn length."""
    rng = np.random.default_rng(seed)
    found = {}
    for row in range(rows):
        lengths = rng.integers(30, 61, samples)
        found[row] = [
            candidate(int(n), float(2 - n / 40 + 0.2 * rng.random()), int(n // 6), int(rng.integers(0, 4)), i)
            for i, n in enumerate(lengths)
        ]
    return found


@pytest.mark.parametrize("rank_by", ["mse", "truth", "both"])
def test_chosen_and_rejected_are_of_one_length_although_longer_ones_are_better(rank_by):
    pairs, counts = pick_pairs(crowd(), PreferConfig(rank_by=rank_by))
    assert len(pairs) > 100
    assert abs(counts["length_difference"]) <= 0.021
    assert all(abs(pair.difference) <= 0.1 * max(len(pair.chosen.ids), len(pair.rejected.ids)) for pair in pairs)
    free, unbalanced = pick_pairs(crowd(), PreferConfig(rank_by=rank_by, length_window=1, length_balance=1))
    assert unbalanced["length_difference"] > 0.1
    assert len(free) >= len(pairs)


def test_the_ranking_decides_which_of_two_is_chosen():
    close_but_wrong, far_but_true = candidate(10, 0.1, 1, 5, 0), candidate(10, 0.9, 6, 0, 1)
    best, worst = candidate(10, 0.05, 7, 0, 2), candidate(10, 1.0, 0, 6, 3)
    two = {0: [close_but_wrong, far_but_true]}
    by = lambda rank, found: pick_pairs(found, PreferConfig(rank_by=rank))[0][0]
    assert by("mse", two).chosen == close_but_wrong
    assert by("truth", two).chosen == far_but_true
    with pytest.raises(TrainingError, match="no pair among the explanations of 1 activations"):
        by("both", two)
    four = by("both", {0: [*two[0], best, worst]})
    assert (four.chosen, four.rejected) == (best, worst)


def test_failed_parses_and_repeated_texts_make_no_pairs_and_are_counted():
    failed = Candidate([1, 2, 3], None, None, None, None)
    same = candidate(10, 0.5)
    found = {0: [same, same, failed], 1: [candidate(10, 0.1), candidate(10, 0.4, first=1), failed], 2: [failed] * 3}
    pairs, counts = pick_pairs(found, PreferConfig())
    assert [pair.row for pair in pairs] == [1]
    assert counts["parse_failures"] == 5
    assert counts["activations_without_pair"] == 2
    assert (counts["samples"], counts["pairs"], counts["dropped_for_length"]) == (9, 1, 0)


def test_a_balance_that_no_price_reaches_is_reached_by_dropping_pairs():
    uneven = {row: [candidate(20, 0.1), candidate(19, 0.5, first=1)] for row in range(10)}
    uneven |= {row: [candidate(19, 0.1), candidate(20, 0.5 + row, first=1)] for row in range(10, 13)}
    pairs, counts = pick_pairs(uneven, PreferConfig(length_balance=0.01))
    assert abs(sum(pair.difference for pair in pairs)) <= 0.01 * 20 * len(pairs)
    assert counts["dropped_for_length"] == 13 - len(pairs) > 0


def test_pairs_are_saved_with_their_counts(tmp_path):
    pairs, counts = pick_pairs(crowd(rows=5), PreferConfig(length_balance=1))
    write_pairs(tmp_path / "pairs.jsonl", pairs, counts)
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [pair.row for pair in pairs]
    assert [line["chosen"]["ids"] for line in lines] == [pair.chosen.ids for pair in pairs]
    assert json.loads((tmp_path / "pairs.jsonl.meta.json").read_text()) == counts
