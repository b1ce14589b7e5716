"""Directions compared at the same cost: worked out by hand; and files of directions that are no such thing."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from legible.errors import UsageError
from legible.steer.contrasts import Swept, at_equal_cost, load_contrasts

NAN = float("nan")


def swept(sites, hits, costs) -> Swept:
    return Swept(sites, np.array(hits, dtype=bool), np.array(costs))


def test_within_a_budget_each_direction_takes_its_strongest_strength_at_every_site():
    edit = swept([0, 1, 2], [[0, 1, 1], [0, 0, 1], [1, 1, 0]], [[0.1, 0.4, 3], [0.2, 0.3, 0.9], [0.6, 0.1, NAN]])
    other = swept([1, 2], [[0, 0, 1], [0, 1, 1]], [[0.1, 0.2, 0.4], [5, 5, 5]])
    half, one = at_equal_cost({"edit": edit, "other": other}, ["a", "b", "b"], against="edit", budgets=(0.5, 1.0))
    assert (half["nats"], one["nats"]) == (0.5, 1.0)
    found = half["arms"]["edit"]
    assert (found["n"], found["success"]["value"]) == (3, pytest.approx(2 / 3))  # the second, the second, the second
    assert found["cost"] == pytest.approx((0.4 + 0.3 + 0.1) / 3)
    assert found["ahead"]["value"] == 0
    rival = half["arms"]["other"]
    assert (rival["n"], rival["success"]["value"], rival["untouched"]) == (2, 0.5, 0.5)
    assert rival["ahead"]["value"] == pytest.approx(((0 - 1) + (1 - 0)) / 2)
    assert rival["cost"] == pytest.approx(0.4 / 2)
    assert one["arms"]["edit"]["success"]["value"] == 1.0


def test_a_silent_continuation_is_within_no_budget():
    arm = swept([0], [[0, 1]], [[0.1, NAN]])
    (found,) = at_equal_cost({"edit": arm}, ["a"], against="edit", budgets=(9.0,))
    assert found["arms"]["edit"]["success"]["value"] == 0


def test_files_that_hold_no_directions_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no file at"):
        load_contrasts(tmp_path / "none", 4)
    (tmp_path / "broken").write_bytes(b"no tensors")
    with pytest.raises(UsageError, match="damaged or no safetensors file"):
        load_contrasts(tmp_path / "broken", 4)
    save_file({"W_dec": torch.ones(2, 4)}, tmp_path / "unnamed")
    with pytest.raises(UsageError, match="holds no tensor named KIND=VALUE"):
        load_contrasts(tmp_path / "unnamed", 4)
    save_file({"mood=sad": torch.ones(3)}, tmp_path / "narrow")
    with pytest.raises(UsageError, match=r"expected \[n, 4\]"):
        load_contrasts(tmp_path / "narrow", 4)
    save_file({"mood=sad": 2 * torch.ones(4), "b_dec": torch.zeros(4)}, tmp_path / "good")
    found = load_contrasts(tmp_path / "good", 4)
    assert list(found) == ["mood=sad"]
    assert float(found["mood=sad"].norm()) == pytest.approx(1.0)
