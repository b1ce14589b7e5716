"""The evaluation on a tiny world target: exact where truth is known, honest where there is nothing to know."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from legible.config import CaptureConfig, EvalConfig
from legible.contract import LegibleExtra, VarianceRecord
from legible.data.capture import capture
from legible.data.store import Store
from legible.documents import Document
from legible.errors import ConfigError, UsageError
from legible.evaluate import claims, foresight
from legible.evaluate.controls import like_rows, mean_direction, other_documents
from legible.evaluate.measure import held_out_measure
from legible.evaluate.reconstruction import misses
from legible.evaluate.run import evaluate_checkpoint
from legible.evaluate.sample import Sample
from legible.evaluate.target_report import target_report
from legible.fileio import finite
from legible.injection import Injection
from legible.languages.base import Claim
from legible.languages.world import WorldLanguage, build_tokenizer, story_document
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.reading.checkpoint import Checkpoint, contracts_of
from legible.vectors import direction_mse, variance

LAYER = 1
CAPTURE = CaptureConfig(layers=(LAYER,), min_pos=12, max_tokens=256, dtype="float32")
LANGUAGE = WorldLanguage()


@pytest.fixture(scope="module")
def target() -> Target:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return Target(LlamaForCausalLM(config), tokenizer, "tiny-random")


@pytest.fixture(scope="module")
def store(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Store:
    documents = [story_document("train", 0, index) for index in range(60)]
    return capture(target, documents, CAPTURE, tmp_path_factory.mktemp("store") / "train")


@pytest.fixture(scope="module")
def dev(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Store:
    documents = [story_document("dev", 0, index) for index in range(12)]
    return capture(target, documents, CAPTURE, tmp_path_factory.mktemp("store") / "dev")


@pytest.fixture(scope="module")
def checkpoint(target: Target, store: Store) -> Checkpoint:
    sample = Sample.of_store(store, LAYER, None)
    verbalizer = Verbalizer.from_target(target, Injection("replace", "sqrt_d_model"))
    reconstructor = Reconstructor.from_target(target, LAYER)
    lookup = TokenLookup.fit(sample.vectors, sample.columns, sample.doc_ids)
    v = variance(sample.vectors)
    extra = LegibleExtra(layer=LAYER, language="world", variance=VarianceRecord(value=v, n=len(sample)))
    contract = contracts_of(verbalizer, reconstructor, extra)[0]
    return Checkpoint(Path("tiny"), verbalizer, reconstructor, target, contract, LAYER, v, lookup, LANGUAGE)


@pytest.fixture(scope="module")
def sample(dev: Store) -> Sample:
    return Sample.of_store(dev, LAYER, LANGUAGE)


def true_text(sample: Sample, row: int) -> str:
    known = [Claim("", f.relation, f.values[0]) for f in sample.facts[row].values() if f.status != "open"]
    return LANGUAGE.write(known, sample.rows[row], 0)


def false_text(sample: Sample, row: int) -> str:
    known = {f.relation: f.values[0] for f in sample.facts[row].values() if f.status != "open"}
    wrong = [Claim("", "mood", "shy" if known.get("mood") != "shy" else "sad")]
    return LANGUAGE.write(
        [*wrong, Claim("", "time", "noon" if known.get("time") != "noon" else "dusk")], sample.rows[row], 0
    )


def all_decodable(sample: Sample) -> dict[str, torch.Tensor]:
    labels = sample.labels(LANGUAGE)
    return {kind: torch.tensor([value is not None for value in column]) for kind, column in labels.items()}


def test_the_teachers_full_text_is_all_true_and_names_everything(sample):
    judged = claims.judge_texts([true_text(sample, row) for row in range(len(sample))], sample, LANGUAGE)
    assert claims.precision(judged, sample.doc_ids, context=False).value == 1.0
    assert claims.precision(judged, sample.doc_ids, context=True).low > 0.99
    assert claims.recall(judged, sample, all_decodable(sample)).value == 1.0


def test_false_text_is_all_false_and_the_lift_is_their_distance(sample):
    rows = range(len(sample))
    wrong = claims.judge_texts([false_text(sample, row) for row in rows], sample, LANGUAGE)
    right = claims.judge_texts([true_text(sample, row) for row in rows], sample, LANGUAGE)
    assert claims.precision(wrong, sample.doc_ids, context=False).value == 0.0
    assert claims.recall(wrong, sample, all_decodable(sample)).value == 0.0
    assert claims.context_lift(right, wrong, sample.doc_ids).value == 1.0


def test_open_claims_are_wrong_and_abstentions_are_neither(sample):
    row = next(r for r in range(len(sample)) if sample.facts[r]["plan"].status == "open")
    texts: list[str | None] = [None] * len(sample)
    texts[row] = LANGUAGE.write([Claim("", "plan", "steal")], sample.rows[row], 0)
    judged = claims.judge_texts(texts, sample, LANGUAGE)
    assert [item.verdict for item in judged] == ["open"]
    assert claims.precision(judged, sample.doc_ids, context=False).value == 0.0
    texts[row] = LANGUAGE.write([Claim("", "plan", None)], sample.rows[row], 0)
    judged = claims.judge_texts(texts, sample, LANGUAGE)
    assert [item.verdict for item in judged] == ["abstain"]
    assert claims.precision(judged, sample.doc_ids, context=False).n == 0


def test_what_the_last_tokens_say_is_no_context_claim(sample):
    row = next(
        r for r in range(len(sample))
        for fact in [sample.facts[r]["name"]]
        if fact.status != "open" and fact.values[0] in sample.rows[r].recent
    )  # fmt: skip
    value = sample.facts[row]["name"].values[0]
    texts: list[str | None] = [None] * len(sample)
    texts[row] = LANGUAGE.write([Claim("", "name", value), Claim("", "species", "toad")], sample.rows[row], 0)
    judged = claims.judge_texts(texts, sample, LANGUAGE)
    assert {item.claim.relation: item.context for item in judged}["name"] is False


def test_a_failed_parse_scores_as_the_constant_guess(checkpoint, sample):
    guess = mean_direction(checkpoint.lookup)
    found = misses(checkpoint.reconstructor, [None] * len(sample), sample.vectors, guess)
    expected = direction_mse(guess.expand_as(sample.vectors), sample.vectors)
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def test_controls_never_deal_a_row_its_own_document(sample, store):
    dealt = other_documents(sample.doc_ids, seed=3)
    assert all(sample.doc_ids[row] != sample.doc_ids[other] for row, other in enumerate(dealt))
    lent = like_rows(sample, sample)
    assert all(sample.doc_ids[row] != sample.doc_ids[other] for row, other in enumerate(lent))
    lender = Sample.of_store(store, LAYER, None)
    same = [
        lender.rows[other].token_id == sample.rows[row].token_id for row, other in enumerate(like_rows(sample, lender))
    ]
    possible = [row.token_id in set(lender.columns.token_ids.tolist()) for row in sample.rows]
    assert same == possible


def test_one_document_has_no_controls():
    with pytest.raises(UsageError, match="all rows are of one document"):
        other_documents(["a", "a"], seed=0)


def test_foresight_judges_only_claims_about_settled_choices(sample):
    found = [foresight.Choice(0, "mood", "sad"), foresight.Choice(1, "mood", "sad"), foresight.Choice(2, "mood", "sad")]
    texts: list[str | None] = [None] * len(sample)
    texts[0] = LANGUAGE.write([Claim("", "mood", "sad")], sample.rows[0], 0)
    texts[1] = LANGUAGE.write([Claim("", "mood", "shy")], sample.rows[1], 0)
    texts[2] = LANGUAGE.write([Claim("", "mood", None)], sample.rows[2], 0)
    report = foresight.foresight(found, texts, sample.doc_ids, LANGUAGE)
    assert (report["value"], report["n"], report["instances"]) == (0.5, 2, 3)


def test_continuations_join_the_text_where_it_stopped(target, sample, monkeypatch):
    """A continuation by the document's own next tokens gives the document's own next words."""
    for row in sample.rows[::5]:
        encoded = target.encode(row.document.text)
        following = slice(row.pos + 1, row.pos + 9)
        monkeypatch.setattr(foresight, "continue_text", lambda *args, own=encoded.ids[following], **kwargs: [own])
        [text] = foresight.continued(target, row, samples=1, seed=0)
        until = max([row.char_end, *(end for _, end in encoded.offsets[following])])
        assert (row.prefix + text).split() == row.document.text[:until].split()


def test_a_target_that_always_says_the_same_has_settled_choices(target, sample, monkeypatch):
    """Continuations that all state one mood settle it wherever the text leaves the mood open."""
    shy = target.tokenizer.encode(". Mira felt shy.", add_special_tokens=False)
    monkeypatch.setattr(foresight, "continue_text", lambda *args, samples, **kwargs: [list(shy)] * samples)
    found = foresight.choices(target, sample, LANGUAGE, rows=len(sample), continuations=16)
    still_open = {row for row, facts in enumerate(sample.facts) if facts["mood"].status == "open"}
    assert still_open
    assert {choice.row for choice in found if choice.kind == "mood" and choice.value == "shy"} == still_open


def test_rows_whose_reading_claims_an_open_fact_come_first(target, sample, monkeypatch):
    shy = target.tokenizer.encode(". Mira felt shy.", add_special_tokens=False)
    monkeypatch.setattr(foresight, "continue_text", lambda *args, samples, **kwargs: [list(shy)] * samples)
    still_open = [row for row, facts in enumerate(sample.facts) if facts["mood"].status == "open"]
    first = set(still_open[-2:])
    found = foresight.choices(target, sample, LANGUAGE, rows=2, continuations=4, first=first)
    assert {choice.row for choice in found} == first


def test_the_same_measure_twice_is_the_same(checkpoint, store, dev):
    probes = ProbeSet.fit(*_fit(store))
    measure = held_out_measure(
        dev, LANGUAGE, LAYER, checkpoint.lookup, 16, variance=checkpoint.variance, probes=probes, max_tokens=12
    )
    scores = measure(checkpoint.engine, checkpoint.reconstructor)
    assert {"fve", "context_fve", "context_precision", "context_claims", "recall", "mean_tokens"} < set(scores)
    assert finite(scores) == finite(measure(checkpoint.engine, checkpoint.reconstructor))


def _fit(store: Store) -> tuple[torch.Tensor, dict[str, list[str | None]], list[str]]:
    sample = Sample.of_store(store, LAYER, LANGUAGE)
    return sample.vectors, sample.labels(LANGUAGE), sample.doc_ids


@pytest.fixture(scope="module")
def report(checkpoint) -> dict:
    config = EvalConfig(
        documents=10, positions_per_doc=2, foresight_rows=2, continuations=4, probe_rows=240, max_tokens=12
    )
    return evaluate_checkpoint(checkpoint, name="tiny", config=config, capture=CAPTURE)


def test_the_report_is_the_promised_object(report):
    assert {"value", "low", "high", "n", "documents"} == set(report["fve"]) == set(report["context_fve"])
    assert set(report["floors"]) == {
        "constant",
        "token_lookup",
        "shuffled_explanations",
        "no_activation",
        "other_activation",
    }
    assert {"teacher_text", "true_facts", "probes"} <= set(report["references"])
    assert set(report["world"]) == {
        "precision", "context_precision", "context_claims_per_reading", "context_lift", "recall", "foresight",
    }  # fmt: skip
    assert report["rows"] == report["fve"]["n"] == 20
    assert (report["checkpoint"], report["seed"]) == ("tiny", 1)
    json.dumps(finite(report), allow_nan=False)


def test_gains_are_fve_minus_floor(report):
    for name, gain in report["gains"].items():
        assert gain["value"] == pytest.approx(report["fve"]["value"] - report["floors"][name], abs=1e-9)


def test_context_fve_compares_with_the_token_lookup(report):
    lost = (1 - report["fve"]["value"]) / (1 - report["floors"]["token_lookup"])
    assert report["context_fve"]["value"] == pytest.approx(1 - lost, abs=1e-6)


def test_a_contract_says_which_positions_were_sampled():
    config = CaptureConfig(min_pos=12, sentence_end_share=0.3, max_tokens=256, predictions=3)
    again = CaptureConfig.from_positions(config.positions_text(), layers=config.layers)
    assert again == config
    with pytest.raises(ConfigError, match="names depth"):
        CaptureConfig.from_positions("depth=3")


def test_the_seed_draws_the_documents():
    first, other = ({doc.doc_id for doc in LANGUAGE.documents("test", seed, 5)} for seed in (1, 2))
    assert first & other == set()
    assert all(name.startswith("world-test-") for name in first)


def test_free_text_without_a_language_has_no_claims(checkpoint):
    documents = [Document(f"d{i}", story_document("test", 3, i).text) for i in range(4)]
    config = EvalConfig(documents=4, positions_per_doc=2, max_tokens=8)
    report = evaluate_checkpoint(
        replace(checkpoint, language=None), name="tiny", config=config, capture=CAPTURE, documents=documents
    )
    assert report["world"] is None
    assert report["claims"] is None
    assert report["references"] == {}


@pytest.mark.parametrize("part", ["lookup", "reconstructor", "variance"])
def test_a_checkpoint_that_cannot_be_scored_says_what_it_lacks(checkpoint, part):
    with pytest.raises(UsageError, match=rf"holds no .*{part}"):
        evaluate_checkpoint(replace(checkpoint, **{part: None}), name="tiny", config=EvalConfig(), capture=CAPTURE)


def test_documents_that_fit_the_probes_are_not_read(checkpoint):
    documents = LANGUAGE.documents("test", 0, 4)
    with pytest.raises(UsageError, match="4 documents are both"):
        evaluate_checkpoint(
            checkpoint, name="tiny", config=EvalConfig(), capture=CAPTURE, documents=documents, pool=documents
        )


def test_the_target_report_measures_probes_lookup_facts_and_loss(target, store, dev):
    report = target_report(target, store, dev, LAYER, LANGUAGE)
    assert set(report["kinds"]) == set(LANGUAGE.probe_kinds)
    added = report["lookup_and_facts_fve"]["value"] - report["lookup_fve"]["value"]
    assert report["facts_add"]["value"] == pytest.approx(added, abs=1e-9)
    assert report["loss"]["nats_per_token"] > report["loss"]["entropy_per_token"] > 0
    assert report["lowest"]["corrected"] == min(s["corrected"]["value"] for s in report["kinds"].values())
