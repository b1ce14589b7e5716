"""A stranger's term of the reward: one file in `legible/train/terms`, switched on by its name."""

from pathlib import Path

import pytest
import train_jobs as jobs
from scripted import trainer

from legible.errors import UsageError
from legible.train import terms

BREVITY = '''
"""Pays for short explanations."""

import torch

from legible.train.terms.base import Earned, Term


class Brevity(Term):
    def __init__(self, weight):
        self.weight = weight

    def measures(self, rows, vectors):
        return {"doubled": lambda pred, index: 2 * pred.norm(dim=-1)}

    def earn(self, step):
        short = torch.zeros(step.shape)
        for (group, rollout), tokens in step.lengths.items():
            short[group, rollout] = self.weight / tokens
        doubled = step.back.mean(step.back.extra["doubled"])
        return Earned(short, metrics={"short": float(short.mean()), "doubled": doubled})


def term(context):
    return Brevity(context.config.terms["brevity"]) if "brevity" in context.config.terms else None
'''


@pytest.fixture
def brevity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brevity.py").write_text(BREVITY)
    monkeypatch.setattr(terms, "__path__", [*terms.__path__, str(tmp_path)])


def stepped(folder, store, weights):
    config = jobs.RL.model_copy(update={"terms": weights, "length_cost": 0.0})
    return trainer(folder, store, config, lambda _, sample: "Feels sad." if sample else "The hero is a fox.").step(0)


def test_a_term_in_one_file_is_found_measured_and_paid(folder, store, brevity):
    plain, paid = (stepped(folder, store, weights) for weights in ({}, {"brevity": 3.0}))
    assert paid["short"] > 0
    assert paid["doubled"] > 0
    assert paid["reward"] == pytest.approx(plain["reward"] + paid["short"], abs=1e-5)
    assert "short" not in plain


def test_a_weight_for_a_term_that_is_not_there_names_those_that_are(folder, store):
    with pytest.raises(
        UsageError, match=r"rl\.terms names wit, but the terms are: contrast, discrimination, leverage, truth"
    ):
        stepped(folder, store, {"wit": 1.0})
