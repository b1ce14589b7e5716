"""Retrieval and twins on a tiny random target whose texts have topics: laws; and the report of an evaluation."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from families import VOCAB, tiny

from legible.config import CaptureConfig, EvalConfig
from legible.contract import LegibleExtra, VarianceRecord
from legible.documents import Document
from legible.engines.base import Completion
from legible.engines.endings import ids_until
from legible.evaluate import retrieval as retrievals
from legible.evaluate.report import summary_lines, write_report
from legible.evaluate.rivals.court import Court
from legible.evaluate.rivals.pair import pair_offers
from legible.evaluate.run import bench_of, evaluate_checkpoint
from legible.evaluate.sample import Sample
from legible.evaluate.twins import drawn_pairs, spliced, twins
from legible.fileio import finite
from legible.injection import Injection
from legible.instruments import INSTRUMENTS, Setting
from legible.labels import Label, Mark
from legible.languages.base import Claim
from legible.languages.text.language import TextLanguage
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.reading.checkpoint import Checkpoint, contracts_of
from legible.vectors import variance

LAYER = 1
TOPICS = ("history", "arts")
CAPTURE = CaptureConfig(layers=(LAYER,), min_pos=12, max_tokens=40, dtype="float32", positions_per_doc=3)
TEXT = TextLanguage()
Said = Callable[[torch.Tensor], str | None]


def document(name: str, topic: str) -> Document:
    """Words of the topic's half of the vocabulary; all of it is called English."""
    draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    half = (VOCAB - 4) // 2 - 2
    numbers = torch.randint(0, half, (40,), generator=draw) + half * TOPICS.index(topic)
    labels = {"topic": Label((Mark(topic),)), "language": Label((Mark("English"),))}
    return Document(name, " ".join(f"w{number}" for number in numbers.tolist()), labels=labels)


def texts(prefix: str, n: int) -> list[Document]:
    return [document(f"{prefix}{i}", TOPICS[i % 2]) for i in range(n)]


@pytest.fixture(scope="module")
def target() -> Target:
    return tiny("llama")


@pytest.fixture(scope="module")
def sample(target: Target) -> Sample:
    return Sample.of_documents(target, texts("read", 30), CAPTURE, LAYER, TEXT)


@pytest.fixture(scope="module")
def probes(target: Target) -> ProbeSet:
    pool = Sample.of_documents(target, texts("pool", 120), CAPTURE, LAYER, TEXT)
    return ProbeSet.fit(pool.vectors, pool.labels(TEXT), pool.doc_ids)


def share_of(pred: torch.Tensor, lineup: retrievals.Lineup) -> float:
    return retrievals.own_is_nearest(pred, lineup.candidates).mean().item()


def test_the_candidates_are_other_prefixes_before_the_same_last_tokens(target, sample):
    rows = retrievals.drawn_rows(sample, 40, seed=3)
    assert len(rows) == 40
    assert rows == sorted(set(rows))
    lineup = retrievals.context_lineup(target, LAYER, sample, rows, seed=0)
    every = {}
    for ending in rows[:3]:
        for beginning in rows:
            ids = torch.tensor([[*ids_until(target, sample.rows[beginning])[:-8],
                                 *ids_until(target, sample.rows[ending])[-8:]]])  # fmt: skip
            every[ending, beginning] = target.streams(ids, torch.ones_like(ids), (LAYER,))[LAYER][0, -1]
    for place, ending in enumerate(rows[:3]):
        assert torch.allclose(lineup.candidates[place, 0], every[ending, ending], atol=1e-3)
        lent = []
        for candidate in lineup.candidates[place, 1:]:
            near = [row for row in rows if torch.allclose(candidate, every[ending, row], atol=1e-4)]
            assert len(near) == 1
            lent += [sample.doc_ids[row] for row in near]
        assert len({*lent, sample.doc_ids[ending]}) == retrievals.CANDIDATES


def test_the_activation_itself_is_found_and_a_quote_of_the_last_tokens_is_at_chance(target, sample):
    rows = retrievals.drawn_rows(sample, len(sample), seed=0)
    lineup = retrievals.context_lineup(target, LAYER, sample, rows, seed=0)
    assert share_of(sample.vectors[rows], lineup) == 1.0
    assert share_of(retrievals.last_tokens_alone(target, LAYER, sample, rows), lineup) < 0.2
    blind = torch.randn(len(rows), target.d_model, generator=torch.Generator().manual_seed(0))
    assert share_of(blind, lineup) < 0.2


def test_rows_whose_whole_text_is_their_last_tokens_are_left_out(target):
    short = CAPTURE.model_copy(update={"min_pos": 1, "positions_per_doc": 40})
    every = Sample.of_documents(target, texts("read", 2), short, LAYER, TEXT)
    rows = retrievals.drawn_rows(every, len(every), seed=0)
    assert {every.rows[row].pos for row in rows} == {row.pos for row in every.rows if row.pos > 8}


Reads = Callable[[torch.Tensor], Sequence[str | None]]


@pytest.fixture(scope="module")
def told(target: Target, sample: Sample, probes: ProbeSet) -> Callable[[Reads], dict]:
    """What twins of 10 pairs make of a reader of activations."""

    def claims(reads: Reads, vectors: torch.Tensor) -> list[list[Claim]]:
        return [TEXT.parse(text).claims if text is not None else [] for text in reads(vectors)]

    return lambda reads: twins(
        target, LAYER, sample, probes, TEXT, lambda vectors, rows: claims(reads, vectors), pairs=10, seed=0
    )


@pytest.fixture(scope="module")
def topics(sample: Sample) -> Callable[[torch.Tensor], list[str]]:
    """The topics of twins: a row's own is known, and its twin, which comes behind it, has the other one."""
    known = {vector.numpy().tobytes(): row.document.labels["topic"].at(0)
             for vector, row in zip(sample.vectors, sample.rows, strict=True)}  # fmt: skip

    def of(vectors: torch.Tensor) -> list[str]:
        own = [known[vector.numpy().tobytes()] for vector in vectors[::2]]
        return [topic for first in own for topic in (first, TOPICS[1 - TOPICS.index(first)])]

    return of


def test_a_reader_that_says_the_truth_tells_all_twins_apart(told, topics):
    found = told(lambda vectors: [f"The topic is {topic}." for topic in topics(vectors)])["topic"]
    assert found["n"] == found["told_apart"]["n"] == 10
    assert found["told_apart"]["value"] == found["told_apart_any"]["value"] == 1.0
    assert 0.3 < found["probe"]["value"] <= found["probe_chosen"]["value"] == 1.0
    assert found["probe"]["n"] > 10
    assert found["values"] == 2


@pytest.mark.parametrize("said", ["The topic is history.", "The topic is unknown.", "The language is English.", None])
def test_a_reader_that_does_not_look_tells_no_twins_apart(told, said):
    assert told(lambda vectors: [said] * len(vectors))["topic"]["told_apart"]["value"] == 0.0


def test_a_reader_of_the_others_label_or_of_both_tells_no_twins_apart(told, topics):
    other = told(lambda vectors: [f"The topic is {topic}." for topic in _other(topics(vectors))])
    both = told(lambda vectors: ["The topic is history. The topic is arts."] * len(vectors))
    for found in (other["topic"], both["topic"]):
        assert (found["told_apart"]["value"], found["told_apart_any"]["value"]) == (0.0, 0.0)
    half = told(lambda vectors: [f"The topic is {topic}." if place % 2 else None
                                 for place, topic in enumerate(topics(vectors))])["topic"]  # fmt: skip
    assert (half["told_apart"]["value"], half["told_apart_any"]["value"]) == (0.0, 1.0)


def _other(topics: list[str]) -> list[str]:
    return [TOPICS[1 - TOPICS.index(topic)] for topic in topics]


def test_kinds_without_two_values_or_without_a_probe_say_why(told):
    found = told(lambda vectors: [None] * len(vectors))
    assert set(found) == set(TEXT.twin_kinds)
    assert "no two documents" in found["language"]["reason"]
    assert "no probe" in found["tense"]["reason"]
    assert (found["tense"]["n"], found["tense"]["told_apart"]) == (0, None)


def test_pairs_are_of_two_documents_and_values_and_none_comes_twice(sample):
    pairs = drawn_pairs(sample, TEXT, "topic", 60, np.random.default_rng(0), TOPICS)
    assert len(pairs) == 60 == len({(pair.own, pair.other) for pair in pairs})
    for pair in pairs:
        own, other = sample.rows[pair.own], sample.rows[pair.other]
        assert own.document.doc_id != other.document.doc_id
        assert pair.values == (own.document.labels["topic"].at(0), other.document.labels["topic"].at(0))
        assert pair.values[0] != pair.values[1]
        assert spliced(other, own).recent == own.recent


def probed(probes: ProbeSet, vector: torch.Tensor) -> str:
    place = int(probes.probability(vector[None], ["read0"])["topic"].argmax(-1))
    return probes.classes["topic"][place]


class Says:
    """An engine whose explanations are of one sort."""

    def __init__(self, said: Said, tokenizer) -> None:
        self.said, self.tokenizer = said, tokenizer

    def generate(self, vectors, keys=None, *, samples=1, temperature=0.0, max_tokens) -> list[list[Completion]]:
        return [[self._one(self.said(vector)) for _ in range(samples)] for vector in vectors]

    def _one(self, text: str | None) -> Completion:
        ids = self.tokenizer(text or "", add_special_tokens=False)["input_ids"]
        return Completion(ids, [-0.1] * (len(ids) + 1), "stop", 1, text or "", text)


@pytest.fixture(scope="module")
def checkpoint(target: Target, probes: ProbeSet) -> Checkpoint:
    store = Sample.of_documents(target, texts("train", 40), CAPTURE, LAYER, TEXT)
    verbalizer = Verbalizer.from_target(target, Injection("replace", "sqrt_d_model"))
    reconstructor = Reconstructor.from_target(target, LAYER)
    lookup = TokenLookup.fit(store.vectors, store.columns, store.doc_ids)
    v = variance(store.vectors)
    extra = LegibleExtra(layer=LAYER, language="text", variance=VarianceRecord(value=v, n=len(store)))
    contract = contracts_of(verbalizer, reconstructor, extra)[0]
    found = Checkpoint(Path("tiny"), verbalizer, reconstructor, target, contract, LAYER, v, lookup, TEXT)
    found.__dict__["engine"] = Says(lambda vector: f"The topic is {probed(probes, vector)}.", target.tokenizer)
    return found


def evaluated(checkpoint: Checkpoint, documents: Sequence[Document], **settings: object) -> dict:
    config = EvalConfig(documents=len(documents), positions_per_doc=3, max_tokens=8, **settings)
    pool = texts("pool", 60)
    return evaluate_checkpoint(
        checkpoint, name="tiny", config=config, capture=CAPTURE, documents=documents, pool=pool,
        writer=lambda rows: ["The topic is arts."] * len(rows),
    )  # fmt: skip


def test_the_report_of_the_text_language_has_its_families_retrieval_and_twins(checkpoint, tmp_path):
    report = evaluated(checkpoint, texts("read", 20), twins=5)
    assert list(report["families"]) == ["next", "ahead", "now", "context"]
    for family in report["families"].values():
        assert {
            "n", "documents", "precision_at_0.8", "precision_at_half_coverage", "ece", "auroc", "shown_per_reading",
            "text_only", "no_activation",
        } <= set(family)  # fmt: skip
    context = report["families"]["context"]
    assert context["claims"] == report["rows"] == 60
    assert context["precision"]["value"] > 0.8
    assert context["text_only"]["value"] == 0.5
    assert "no calibrator" in context["reasons"]["n"] or context["n"] == 0
    found = report["retrieval"]
    for key in ("context", "last8", "context_without_next_and_now", "teacher", "teacher_without_next_and_now"):
        assert 0.0 <= found[key]["value"] <= 1.0
        assert found[key]["n"] == 60
    assert set(found["context"]) == {"value", "low", "high", "n", "documents"}
    assert {"n", "told_apart", "probe"} <= set(report["twins"]["topic"])
    json.dumps(finite(report), allow_nan=False)
    lines = "\n".join(summary_lines(finite(report)))
    assert "twins: pairs of texts" in lines
    assert "precision at 0.8" in lines
    write_report(tmp_path / "report.html", finite(report))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Families of claims" in page
    assert "Twins" in page


def test_what_is_not_asked_for_is_not_in_the_report(checkpoint):
    report = evaluated(checkpoint, texts("read", 6), families=False, retrieval_rows=0, twins=0)
    assert {"families", "retrieval", "twins"}.isdisjoint(report)
    few = evaluated(checkpoint, texts("read", 6), families=False, retrieval_rows=4, twins=0)["retrieval"]
    assert few["context"] is None
    assert "fewer than 16 documents" in few["reasons"]["context"]


def test_without_a_language_retrieval_is_measured_where_it_is_asked_for(checkpoint):
    other = replace(checkpoint, language=None)
    other.__dict__["engine"] = checkpoint.engine
    report = evaluated(other, texts("read", 18), retrieval_rows=30)
    assert {"families", "twins"}.isdisjoint(report)
    assert report["retrieval"]["context"]["n"] == 30
    assert report["retrieval"]["teacher"] is None


def test_settings_that_are_not_given_leave_no_trace_in_a_configuration():
    assert {"families", "retrieval_rows", "twins"}.isdisjoint(EvalConfig().model_dump())
    assert EvalConfig(twins=0).model_dump()["twins"] == 0


def test_instruments_are_judged_by_family_and_by_twins(checkpoint):
    config = EvalConfig(documents=20, positions_per_doc=3, max_tokens=8, twins=5)
    bench = bench_of(checkpoint, config, CAPTURE, texts("read", 20), texts("pool", 60), lambda stage: None)
    court = Court(checkpoint.target, LAYER, bench, config)
    setting = Setting(
        checkpoint.target, LAYER, TEXT, others=bench.pool, probes=bench.probes, lookup=bench.lookup, seed=1
    )  # fmt: skip
    pair, named = court.measured(pair_offers(checkpoint, bench, max_tokens=8, seed=1)["pair"], setting, None)
    rows = {name: court.measured(INSTRUMENTS[name], setting, named)[0] for name in INSTRUMENTS}
    unfit = {"asked": "lists no values", "k-shot": "do not fit the context"}  # of a target so small
    untaught = dict.fromkeys(("tuned-lens", "reading-vectors", "sae"), "and none was given")
    for name, note in (unfit | untaught).items():
        lacking = rows.pop(name)
        assert note in lacking["note"]
        assert lacking["fve"] is None
    for row in (pair, *rows.values()):
        assert row["note"] == ""
        assert list(row["families"]) == ["next", "ahead", "now", "context"]
    assert pair["families"]["context"]["reasons"]["auroc"] == "it gives no scores"
    assert pair["families"]["context"]["n"] == 60
    assert rows["probes"]["twins"]["topic"]["told_apart"]["value"] > 0.5  # twins are those that a probe tells apart
    assert rows["token-lookup"]["twins"]["topic"]["told_apart"]["value"] == 0.0  # it sees the shared last tokens alone
    assert rows["logit-lens"]["families"]["next"]["reasons"]["precision_at_equal_recall"] != ""
