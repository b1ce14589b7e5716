"""Real models and texts that the project did not write: loaded, checked, captured and stated facts about.

They lie in a folder `shared/material` beside the checkout, or where LEGIBLE_MATERIAL says; elsewhere these tests skip.
"""

import json
import os
from itertools import islice
from pathlib import Path

import pytest
import torch

from legible.config import CaptureConfig
from legible.data.capture import capture
from legible.documents import read_corpus
from legible.engines.continuations import speaker
from legible.languages.base import Claim, Fact, judge
from legible.languages.text import LANGUAGE as TEXT
from legible.models.target import Target

MATERIAL = Path(os.environ.get("LEGIBLE_MATERIAL", Path(__file__).resolve().parents[3] / "shared" / "material"))
MODELS = ("stories260k-llama", "bitstories-3m-bitnet")

pytestmark = [
    pytest.mark.material,
    pytest.mark.skipif(not MATERIAL.is_dir(), reason=f"no public models at {MATERIAL}; set LEGIBLE_MATERIAL"),
]


def stories(count: int):
    return list(islice(read_corpus(MATERIAL / "corpora" / "tinystories_2mb.jsonl.gz"), count))


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_reads_the_stories_it_was_trained_on_and_passes_its_self_check(name):
    target = Target.load(str(MATERIAL / name))
    target.self_check(target.n_layers // 2)
    ids = torch.tensor([target.encode(stories(1)[0].text).ids[:200]])
    logp = target.logits(ids, torch.ones_like(ids))[0, :-1].log_softmax(-1)
    nats = -logp.gather(1, ids[0, 1:, None]).mean().item()
    assert nats < 2.5  # a wrong layout of the weights costs log(512) = 6.2


@pytest.mark.parametrize("name", MODELS)
def test_captured_vectors_of_a_real_model_are_its_own_stream(name, tmp_path):
    target = Target.load(str(MATERIAL / name))
    config = CaptureConfig(layers=(2,), positions_per_doc=3, min_pos=24, max_tokens=128, predictions=3, dtype="float32")
    store = capture(target, stories(4), config, tmp_path / "store")
    for index in range(len(store)):
        row = store.row(index)
        ids = torch.tensor([target.encode(row.document.text).ids[: row.pos + 1]])
        stream = target.streams(ids, torch.ones_like(ids), [2])[2][0, -1]
        torch.testing.assert_close(store.vectors([index], 2)[0], stream, rtol=1e-3, atol=1e-3)
        assert len(row.predictions) == 3


def test_what_is_said_of_real_stories_is_true_and_parses_back(tmp_path):
    target = Target.load(str(MATERIAL / MODELS[0]))
    config = CaptureConfig(layers=(1,), positions_per_doc=4, min_pos=24, max_tokens=128, **TEXT.captured)
    store = capture(target, stories(6), config, tmp_path / "store", speaker=speaker(target, config))
    families = set()
    for row in store.rows():
        facts = TEXT.facts(row)
        claims = [Claim("", kind, value) for kind, fact in facts.items() for value in said(fact) if value != "no"]
        parsed = TEXT.parse(TEXT.write(claims, row, seed=0)).claims
        assert len(parsed) == len(claims)
        assert {judge(claim, facts) for claim in parsed} == {"true"}
        families |= {claim.family for claim in parsed}
    assert families >= {"next", "ahead", "now"}


def said(fact: Fact) -> tuple[str, ...]:
    """The values that one explanation can state of a fact."""
    return fact.values if fact.relation in TEXT.list_kinds else fact.values[:1]


@pytest.mark.slow
def test_a_labelled_corpus_ends_as_readings_whose_truth_is_told_by_family(tmp_path, legible):
    corpus = tmp_path / "stories.jsonl"
    raw = MATERIAL / "corpora" / "tinystories_2mb.jsonl.gz"
    made = legible("corpus", "stories", "--from", raw, "--count", "300", "--tags", "none", "--out", corpus)
    assert made.code == 0, made.err
    small = {
        "threads": 1, "train_documents": 24, "dev_documents": 4, "sft.steps": 40, "rl.steps": 0,
        "sft.max_explanation_tokens": 160, "capture.positions_per_doc": 3, "calibrate.documents": 4,
        "calibrate.samples": 1, "calibrate.max_tokens": 160, "evaluate.documents": 8, "evaluate.probe_rows": 60,
        "evaluate.max_tokens": 160, "teach.limit": "none",
    }  # fmt: skip
    settings = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    done = legible("train", "small", "--target", MATERIAL / MODELS[0], "--corpus", corpus, "--teacher", "text",
                   "--out", tmp_path / "run", *settings)  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert set(report["config"]["capture"]) >= {"certainty", "continuations"}
    lines = (tmp_path / "run" / "teach" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = {kind for line in lines for kind, _ in json.loads(line)["claims"]}
    assert {"kind", "language", "next_token", "certainty", "say", "last_word"} <= kinds
    assert "topic" not in kinds
    assert report["claims"]["families"]
    for family, one in report["claims"]["families"].items():
        assert family in ("next", "ahead", "now", "context")
        assert one["precision"]["n"] > 0
