"""`legible truth` on the built-in pair, made small: what it prints, and that it counts what it says it counts."""

import json
import math
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from legible.cli.main import main
from legible.config import EvalConfig, TruthConfig
from legible.documents import Document
from legible.evaluate import trust_metrics, truth_report
from legible.evaluate.claims import Judged
from legible.evaluate.llm_judge import is_asked
from legible.evaluate.run import held_out
from legible.evaluate.sample import Sample
from legible.evaluate.truth_claims import ReadClaims, flat, instances
from legible.evaluate.truth_page import curve_plot, reliability_plot, truth_lines, write_truth
from legible.languages.base import Claim, Fact, Row
from legible.languages.world import WorldLanguage
from legible.reading import trusted as evidence
from legible.reading.calibration import Calibrator, Calibrators, FittedOn
from legible.reading.opening import load_checkpoint
from legible.recipes.stages.measuring import Truth, default_cache
from legible.teachers import Explanation, Refusal
from legible.teachers.judge import Judge

SMALL = (
    "--documents", "10", "--positions-per-doc", "2", "--samples", "2", "--probe-rows", "240", "--foresight-rows", "1",
    "--continuations", "4", "--max-tokens", "96",
)  # fmt: skip
FEW = TruthConfig(
    documents=10, positions_per_doc=2, samples=2, probe_rows=240, foresight_rows=1, continuations=4, max_tokens=96
)
HEADLINES = ("precision_at_half_coverage", "ece", "brier_skill", "auroc", "recall", "foresight")
WORLD = WorldLanguage()


def by_agreement(calibrator, every, language, *, samples, temperature):
    """A stand-in for a calibrator: agreement and log-probability squashed."""
    z = [3.0 * (e.agreement or 0.0) + 2.0 * (e.logprob_min or 0.0) for e in every]
    return [(1.0 / (1.0 + math.exp(-value)), None) for value in z]


def silent(calibrator, every, language, *, samples, temperature):
    return [(None, "this checkpoint has no calibrator: legible calibrate builtin")] * len(every)


def all_known(vectors, labels, doc_ids):
    """A stand-in for probes that find every fact: so few rows fit none that are sure of anything."""
    return {kind: torch.tensor([value is not None for value in column]) for kind, column in labels.items()}


@pytest.fixture(scope="module")
def drawn():
    """Draws the held-out rows of the small run once, for all tests."""
    known: list[Any] = []

    def once(*arguments: Any) -> Any:
        if not known:
            sample, pool, probes = held_out(*arguments)
            known.append((sample, pool, SimpleNamespace(decodable=all_known, rows=probes.rows)))
        return known[0]

    return once


@pytest.fixture(scope="module")
def report(tmp_path_factory, drawn):
    """The JSON and the page of one small run with a stand-in for the calibrator."""
    page = tmp_path_factory.mktemp("truth") / "truth.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "p_true_of", by_agreement)
        patch.setattr(truth_report, "held_out", drawn)
        with redirect_stdout(StringIO()) as written, pytest.raises(SystemExit) as stopped:
            main(["truth", "builtin", *SMALL, "--json", "--html", str(page)])
    assert not stopped.value.code
    return SimpleNamespace(json=json.loads(written.getvalue()), html=page.read_text(encoding="utf-8"))


def test_the_promised_keys_are_plain_numbers_with_intervals_beside_them(report):
    found = report.json
    for key in HEADLINES:
        assert isinstance(found[key], float) or key in found["reasons"]
        if found[key] is not None:
            assert found["intervals"][key].keys() >= {"value", "low", "high", "n", "documents"}
            assert found["intervals"][key]["value"] == found[key]
    assert isinstance(found["ece"], float)
    assert isinstance(found["precision_at_half_coverage"], float)
    assert (found["mode"], found["samples"], found["checkpoint"], found["seed"]) == ("sampled", 2, "builtin", 1)
    assert (found["rows"], found["documents"], found["verdicts"]) == (20, 10, "world")
    assert found["documents_of"] == "stories"
    assert len(found["reliability"]) == trust_metrics.BINS
    assert found["kinds"]["name"].keys() >= {"claims", "precision", "mean_p_true", "ece", "recall"}
    assert sum(part["all_claims"] for part in found["positions"].values()) == found["intervals"]["precision"]["n"]
    assert sum(part["claims"] for part in found["kinds"].values()) == found["claims_scored"]
    assert found["judge"] is None


def test_precision_at_a_trust_counts_all_claims_that_are_shown(report):
    at = report.json["intervals"]["precision_at_0.8"]
    assert at["n"] < report.json["all_claims"]["n"]
    assert at["value"] == report.json["precision_at_0.8"]
    assert at["low"] < at["value"] <= at["high"]
    assert report.json["intervals"]["unparsed_words"]["n"] > report.json["all_claims"]["n"]
    assert "precision at trust 0.8" in "\n".join(truth_lines(report.json))


def test_too_few_claims_leave_the_evidence_out_and_say_so():
    sample = rows_of({}, {})
    judged, p, _ = flat([[trusted(Claim("", "mood", "sad"), 0.9, "true")], []], WORLD)
    read = ReadClaims(sample, judged, p, None)
    rows, reason = truth_report._evidence(read, [evidence.ClaimEvidence("mood", "sad")], 0)
    assert rows == {}
    assert "at least 50 claims" in reason["evidence"]


def test_the_curve_begins_with_all_claims_and_holds_the_point_of_half_coverage(report):
    found = report.json
    first, *_, last = found["curve"]
    assert first["threshold"] == 0.0
    assert first["claims"] == found["claims_scored"]
    assert first["precision"] == pytest.approx(found["context_precision"])
    assert first["coverage"] == pytest.approx(found["recall"])
    assert last["claims"] < first["claims"]
    [half] = [point for point in found["curve"] if point["threshold"] == found["threshold_at_half_coverage"]]
    assert half["precision"] == pytest.approx(found["precision_at_half_coverage"])
    assert half["coverage"] >= 0.5
    assert all(point["coverage"] < 0.5 for point in found["curve"] if point["threshold"] > half["threshold"])


def test_the_page_is_self_contained_and_draws_both_plots(report):
    assert report.html.count("<svg") == 2
    assert "Reliability" in report.html
    assert "dot is precision at half coverage" in report.html
    assert 'style="' not in report.html  # the content security policy allows the style sheet alone
    assert "http" not in report.html.replace("http-equiv", "")


def test_the_table_names_kinds_positions_and_intervals(report):
    text = "\n".join(truth_lines(report.json))
    for word in ("kind", "species", "position", "calibration error", "[", "at p_true of at least", "seed 1, commit"):
        assert word in text


def test_without_a_calibrator_truth_is_given_and_the_rest_says_how(legible, monkeypatch, drawn):
    monkeypatch.setattr(truth_report, "held_out", drawn)
    monkeypatch.setattr(evidence, "p_true_of", silent)
    done = legible("truth", "builtin", *SMALL, "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert isinstance(found["context_precision"], float)
    assert isinstance(found["recall"], float)
    for key in ("precision_at_half_coverage", "ece", "brier_skill", "auroc"):
        assert found[key] is None
        assert "legible calibrate" in found["reasons"][key]
    assert (found["curve"], found["reliability"], found["claims_scored"]) == ([], [], 0)
    assert sum(found["without_p_true"].values()) == found["intervals"]["precision"]["n"]
    assert reliability_plot(found) is curve_plot(found) is None
    assert any("legible calibrate" in line for line in truth_lines(found))


def test_the_report_says_which_calibrator_spoke_and_what_it_was_fitted_on():
    fitted = FittedOn("world", "calibrate", 0, 150, 1350, 14000, 10000, 0.98, samples=1, temperature=1.0, layer=2)
    single = Calibrator((), (), (), (), (0.0,), 1.0, 0.0, (), fitted)
    several = replace(single, fitted=replace(fitted, samples=5))

    def spoke(pair, samples, temperature):
        return truth_report._calibrator(SimpleNamespace(calibrator=pair), samples, temperature)

    assert spoke(Calibrators(single, several), 5, 1.0)["mode"] == "sampled"
    assert spoke(Calibrators(single, several), 1, 0.0) == {"mode": "single", **asdict(fitted)}
    assert spoke(Calibrators(single, several, refusal="other weights"), 5, 1.0) is None
    assert spoke(None, 5, 1.0) is None


def test_the_calibrators_origin_is_shown(report, tmp_path):
    fitted = {"mode": "sampled", "claims": 14000, "documents": 150, "split": "calibrate", "seed": 7}
    found = {**report.json, "calibrator": fitted}
    write_truth(tmp_path / "t.html", found)
    for shown in (" ".join(truth_lines(found)), (tmp_path / "t.html").read_text(encoding="utf-8")):
        assert "sampled calibrator, fitted on 14000 claims of 150" in shown
        assert "(split calibrate, seed 7)" in shown


class Scripted:
    """A judge's back end that says the same word of every claim, or nothing that can be read."""

    name = "scripted"

    def __init__(self, word):
        self.word = word

    def complete(self, requests):
        counts = [request.tail.split("<claims>\n")[1].split("\n</claims>")[0].count("\n") + 1 for request in requests]
        texts = [" ".join(f"{n}: {self.word}" for n in range(1, count + 1)) for count in counts]
        return [Explanation(text) if self.word else Refusal("refused in words") for text in texts]

    def close(self):
        pass


@pytest.mark.parametrize("word", ["true", "banana", ""], ids=["yes", "nonsense", "refusal"])
def test_a_judge_decides_and_is_measured_or_is_counted_and_scores_nothing(monkeypatch, tmp_path, drawn, word):
    monkeypatch.setattr(truth_report, "held_out", drawn)
    monkeypatch.setattr(evidence, "p_true_of", by_agreement)
    page = tmp_path / "truth.html"
    found = Truth(load_checkpoint("builtin"), "builtin", FEW, judge=Judge(Scripted(word))).run()
    write_truth(page, found)
    assert found["verdicts"] == "judge"
    assert isinstance(found["recall"], float)  # stays by construction
    asked = found["judge"]["claims"]
    if word == "true":
        assert found["context_precision"] == found["precision"] == 1.0
        assert found["judge"]["agreement"]["true_accepted"] == 1.0
        assert found["judge"]["agreement"]["n"] == found["judge"]["decided"] == asked
    else:
        reason = "no verdict" if word else "refused in words"
        assert found["judge"]["failed"] == {reason: asked}
        assert found["context_precision"] is found["ece"] is found["precision_at_half_coverage"] is None
        assert found["reasons"]["ece"] == "the judge decided no claim"
        assert found["judge"]["agreement"]["n"] == 0
    assert "The judge" in page.read_text(encoding="utf-8")
    assert any("scripted" in line for line in truth_lines(found))


def test_text_outside_the_language_is_left_undecided_or_to_a_judge(legible, monkeypatch, tmp_path):
    corpus = tmp_path / "plain.jsonl"
    places = ("park", "house", "beach")
    texts = [f"Tom and Lily went to the {places[n % 3]}. Tom was sad there. Then cat {n} came." for n in range(40)]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    monkeypatch.setattr(evidence, "p_true_of", by_agreement)
    arguments = ("truth", "builtin", *SMALL, "--corpus", str(corpus), "--json")
    found = json.loads(legible(*arguments).out)
    assert found["verdicts"] is found["context_precision"] is found["recall"] is found["ece"] is None
    assert "--judge" in found["reasons"]["ece"]
    assert "no language knows" in found["reasons"]["recall"]
    found = Truth(load_checkpoint("builtin"), "builtin", FEW, str(corpus), judge=Judge(Scripted("false"))).run()
    assert found["precision"] == 0.0
    assert found["judge"]["agreement"]["on"] == "statements made from the facts of the same texts"
    assert (found["judge"]["agreement"]["value"], found["judge"]["agreement"]["true_accepted"]) == (0.5, 0.0)
    assert found["precision_at_half_coverage"] is found["recall"] is None


def test_documents_are_a_number_stories_or_sentences_and_count_says_how_many():
    read = [(config.texts, config.documents_of, config.sentences) for config in (
        TruthConfig(), TruthConfig(documents=7), TruthConfig(documents="stories"), TruthConfig(documents="sentences"),
        TruthConfig(documents="sentences", count=40), TruthConfig(documents=7, count=3),
        EvalConfig(documents="stories"),
    )]  # fmt: skip
    assert read == [
        (160, "stories", None), (7, "stories", None), (160, "stories", None), (1000, "sentences", 1),
        (40, "sentences", 1), (3, "stories", None), (150, "stories", None),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """The JSON and the page of a small run on single sentences."""
    page = tmp_path_factory.mktemp("sentences") / "truth.html"
    arguments = ("--documents", "sentences", "--count", "60", "--positions-per-doc", "4", *SMALL[4:])
    with redirect_stdout(StringIO()) as written, pytest.raises(SystemExit) as stopped:
        main(["truth", "builtin", *arguments, "--samples", "3", "--json", "--html", str(page)])
    assert not stopped.value.code
    return SimpleNamespace(json=json.loads(written.getvalue()), html=page.read_text(encoding="utf-8"))


def test_single_sentences_are_read_from_their_first_word_on(sentences):
    found = sentences.json
    assert (found["documents_of"], found["documents"], found["rows"]) == ("sentences", 60, 240)
    assert list(found["positions"]) == ["0-15"]
    assert found["all_claims"]["n"] > 240
    capture, documents, _ = Truth(load_checkpoint("builtin"), "builtin", TruthConfig(documents="sentences")).drawn()
    assert (capture.min_pos, documents) == (1, None)


def test_every_kind_of_evidence_speaks_alone_beside_the_base_rate(sentences):
    found = sentences.json
    rows = found["evidence"]
    assert list(rows) == ["agreement", "logprob", "probe", "leverage", "all", "base rate"]
    for row in (found["all_claims"], *rows.values()):
        assert row["n"] == found["all_claims"]["n"] > found["claims_scored"]
        for key in ("ece", "brier_skill", "auroc", "precision_at_0.8"):
            assert row["intervals"][key]["value"] == row[key] or row[key] is None
    assert all(row["ece_base_rate"] == rows["base rate"]["ece"] < 1e-9 for row in rows.values())
    assert (rows["base rate"]["auroc"], rows["base rate"]["brier_skill"]) == (0.5, pytest.approx(0.0))
    assert found["all_claims"]["ece_base_rate"] == pytest.approx(
        abs(found["calibrator"]["precision"] - found["precision"]), abs=0.02
    )
    assert rows["all"]["auroc"] > max(0.6, rows["leverage"]["auroc"])
    assert found["brier_base_rate"] > 0
    text = "\n".join(truth_lines(found))
    for shown in (text, sentences.html):
        assert "probe alone" in shown
        assert "base rate" in shown


def test_bad_input_is_refused_before_any_work(legible, tmp_path):
    corpus = tmp_path / "plain.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"Tom saw cat {n}."}) + "\n" for n in range(40)))
    for arguments, words in (
        (("truth", "builtin", "--documents", "novels"), "documents"),
        (("truth", "builtin", "--documents", "0"), "documents"),
        (("evaluate", "builtin", "--count", "0"), "count = 0"),
        (
            ("truth", "builtin", "--documents", "sentences", "--corpus", str(corpus)),
            "sentences are written by a language",
        ),
        (("truth", "no-such-run"), "no checkpoint 'no-such-run'"),
        (("truth", "builtin", "--samples", "0"), "samples = 0"),
        (("truth", "builtin", "--judge", "text"), "unknown judge 'text', expected "),
        (("truth", "builtin", "--corpus", str(tmp_path / "none")), "no corpus at"),
    ):
        done = legible(*arguments)
        assert done.code == 2
        assert words in done.err
        assert "Traceback" not in done.err


def test_a_judges_answers_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "legible" / "judge.sqlite"


def rows_of(*facts: dict[str, Fact]) -> Sample:
    """Rows of one document each, at positions 10, 20, 40, ..."""
    rows = [Row(Document(f"d{n}", "text"), 10 * 2**n, 4, 0, 5, 4) for n in range(len(facts))]
    return Sample(torch.zeros(len(facts), 2), rows, list(facts))


def trusted(claim: Claim, p: float | None, verdict: str, context: bool = True) -> evidence.TrustedClaim:
    nothing = evidence.ClaimEvidence(claim.relation)
    return evidence.TrustedClaim(claim, nothing, p, verdict, context, None if p is not None else "why not")  # type: ignore[arg-type]


def test_an_instance_is_covered_by_the_surest_claim_that_names_it_rightly():
    claims = [
        [trusted(Claim("", "mood", "sad"), 0.3, "true"), trusted(Claim("", "mood", "shy"), 0.9, "false"),
         trusted(Claim("", "mood", "sad"), 0.6, "true")],
        [trusted(Claim("", "mood", "sad"), None, "true")],
        [],
    ]  # fmt: skip
    judged, p, reasons = flat(claims, WORLD)
    decodable = {"mood": torch.tensor([True, True, True]), "time": torch.tensor([False, True, False])}
    found = instances(judged, p, decodable)
    assert [(one.row, one.kind, one.named, one.covered) for one in found] == [
        (0, "mood", True, 0.6), (1, "mood", True, trust_metrics.NEVER), (2, "mood", False, trust_metrics.NEVER),
        (1, "time", False, trust_metrics.NEVER),
    ]  # fmt: skip
    assert reasons == {"why not": 1}
    denial = Claim("", "mood", "shy", polarity="negative")
    assert not instances([Judged(2, denial, "true", True)], [0.9], decodable)[2].named  # type: ignore[index]
    assert instances(judged, p, None) is None


def test_abstentions_and_undecided_claims_are_not_scored_and_open_facts_are_counted():
    fact = {"mood": Fact("mood", "open", ()), "time": Fact("time", "open", ())}
    sample = rows_of(fact, fact, fact)
    claims = [
        [trusted(Claim("", "mood", "sad"), 0.9, "open"), trusted(Claim("", "time", None), 0.2, "abstain")],
        [trusted(Claim("what", None, None), 0.5, "unknown")],
        [],
    ]
    judged, p, _ = flat(claims, WORLD)
    read = ReadClaims(sample, judged, p, None)
    assert [(read.judged[n].claim.value, read.p[n]) for n in read.scored()] == [("sad", 0.9)]
    found = read.abstention(WORLD, 0.95)
    assert found["open_left_alone"]["value"] == pytest.approx(5 / 6)
    assert (found["claims_per_reading"], found["silent_readings"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert found["silent_at_half_coverage"] == 1.0
    assert list(read.by_position()) == ["0-15", "16-31", "32-63"]
    assert [part["readings"] for part in read.by_position().values()] == [1, 1, 1]


def test_free_text_has_one_kind_and_only_context_claims():
    sample = rows_of({}, {})
    judged, p, _ = flat([[trusted(Claim("It rains."), 0.5, "unknown", False)], []], None)
    assert [item.context for item in judged] == [True]
    decided = [Judged(0, judged[0].claim, "true", True)]
    kinds = ReadClaims(sample, decided, p, None).by_kind(None)
    assert list(kinds) == ["(sentences)"]
    assert (kinds["(sentences)"]["precision"], kinds["(sentences)"]["recall"]) == (1.0, None)
    assert is_asked(judged[0], None)


def test_what_a_judge_is_called_cannot_break_the_page(report, tmp_path: Path):
    judge = {
        "name": "<script>\x1b", "requests": 1, "claims": 1, "decided": 1, "none": 0, "retried": 0, "by_construction": 0,
        "failed": {"</p><b>": 1},
        "agreement": {"value": 1.0, "low": 1.0, "high": 1.0, "n": 1, "documents": 1, "kappa": None,
                      "true_accepted": 1.0, "wrong_accepted": None, "undecided": 0, "on": "nothing"},
    }  # fmt: skip
    write_truth(tmp_path / "t.html", {**report.json, "judge": judge, "reasons": {"recall": "<i>"}})
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;\\x1b" in page
    assert not {"<script", "<i>", "</p><b>"} & {word for word in ("<script", "<i>", "</p><b>") if word in page}
    assert all("\x1b" not in line for line in truth_lines({**report.json, "judge": judge}))


def test_the_default_sizes_read_more_than_five_thousand_context_claims():
    """At the built-in pair's 8 context claims a reading."""
    config = TruthConfig()
    assert config.texts * config.positions_per_doc * 8 > 5000
