"""The reward for telling texts apart: the own activation earns, an echo of the last words earns nothing."""

from pathlib import Path

import pytest
import torch
from capture_jobs import run, tiny_target

from legible.config import RLConfig
from legible.engines.endings import ids_until, streams_behind
from legible.errors import UsageError
from legible.train.terms.base import Context
from legible.train.terms.discrimination import OTHERS, Discrimination, term
from legible.vectors import direction_mse, unit

LAYER, LAST = 2, 8


@pytest.fixture(scope="module")
def target():
    return tiny_target()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return run(tmp_path_factory.mktemp("store"))


def _rows(store, target) -> list[int]:
    return [row for row in range(len(store)) if len(ids_until(target, store.row(row))) > LAST][:6]


def test_the_gain_is_the_distance_to_the_same_last_tokens_behind_other_beginnings(store, target) -> None:
    made = Discrimination(store, LAYER, target, 1.0)
    rows = _rows(store, target)
    vectors = store.vectors(rows, LAYER)
    gains, alone = made.of(rows, vectors)
    others = made.beginnings(rows)
    assert alone == 0
    assert 1 <= len(others) <= OTHERS
    row = rows[2]
    ending = ids_until(target, store.row(row))[-LAST:]
    behind = [ids for doc_id, ids in others if doc_id != store.doc_ids[row]]
    echoes = streams_behind(target, LAYER, behind, [ending], [(n, 0) for n in range(len(behind))])
    pred = torch.randn(1, target.d_model, generator=torch.Generator().manual_seed(1))
    own = direction_mse(pred, vectors[2:3])
    expected = (direction_mse(pred.expand_as(echoes), echoes) - own).mean()
    assert float(gains(pred, [2])[0]) == pytest.approx(float(expected), abs=1e-4)
    assert float(gains(vectors[2:3], [2])[0]) > 0
    assert abs(float(gains(unit(unit(echoes).mean(0, keepdim=True)), [2])[0])) < float(gains(vectors[2:3], [2])[0])


def test_a_row_without_room_for_other_beginnings_earns_nothing(store, target) -> None:
    short = [row for row in range(len(store)) if len(ids_until(target, store.row(row))) <= LAST][:1]
    rows = [*short, *_rows(store, target)[:2]]
    assert short
    gains, alone = Discrimination(store, LAYER, target, 1.0).of(rows, store.vectors(rows, LAYER))
    assert alone == 1
    assert float(gains(store.vectors(short, LAYER), [0])[0]) == 0.0


def test_it_is_switched_on_by_its_weight_and_needs_the_target(store, target, tmp_path: Path) -> None:
    config = RLConfig(terms={"discrimination": 0.5})
    assert term(Context(RLConfig(), store, LAYER, target.tokenizer, None, target)) is None
    assert term(Context(config, store, LAYER, target.tokenizer, None, target)) is not None
    with pytest.raises(UsageError, match="needs the target"):
        term(Context(config, store, LAYER, target.tokenizer, None))
