"""The claims of instruments in figures: closed forms."""

import math

import numpy as np
import pytest

from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate import trust_metrics as metrics
from legible.evaluate.claims import Judged
from legible.evaluate.rivals.figures import claim_figures, groups, named_rightly
from legible.evaluate.rivals.table import rival_lines, write_rivals
from legible.evaluate.sample import Sample
from legible.instruments import INSTRUMENTS
from legible.instruments.base import shares_of, value_claim
from legible.languages.base import Claim, Fact, Row, Verdict
from legible.languages.text.language import TextLanguage
from legible.languages.world import WorldLanguage
from legible.recipes.rivals import chosen, weights_given

WORLD, TEXT = WorldLanguage(), TextLanguage()


def sample_of(documents: int) -> Sample:
    rows = [Row(Document(f"d{i}", "a b c"), 2, 5, 0, 1, 1) for i in range(documents)]
    return Sample(np.zeros((documents, 2)), rows, [{} for _ in rows])


def said(row: int, verdict: Verdict, *, context: bool = True, family: str = "context") -> Judged:
    return Judged(row, Claim("", "mood", f"{verdict}{row}", family=family), verdict, context)


def test_precision_reaching_takes_the_surest_claims_and_ties_together():
    found = metrics.tally([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 1])
    assert metrics.precision_reaching(found, 1) == 1.0
    assert metrics.precision_reaching(found, 2) == pytest.approx(2 / 3)
    assert metrics.precision_reaching(found, 3) == 0.75
    assert math.isnan(metrics.precision_reaching(found, 4))
    assert math.isnan(metrics.precision_reaching(found, 0))


def test_an_instrument_as_good_as_the_pair_reaches_all_of_it():
    sample = sample_of(4)
    judged = [said(0, "true"), said(1, "true"), said(2, "false"), said(3, "open", context=False)]
    pair = named_rightly(judged, sample, WORLD)
    assert pair["context"] == pair["context_claims"] == {"d0": 1, "d1": 1}
    found = claim_figures(judged, [0.9, 0.8, 0.2, 0.1], sample, WORLD, pair, calibrated=True)
    whole, context = found["context"], found["context_claims"]
    assert (whole["n"], context["n"], whole["reached"]) == (4, 3, 1.0)
    assert whole["precision"]["value"] == 0.5
    assert context["precision"]["value"] == pytest.approx(2 / 3)
    assert whole["precision_at_equal_recall"]["value"] == whole["auroc"]["value"] == 1.0
    assert whole["reasons"] == {}


def test_what_an_instrument_lacks_is_null_with_its_reason():
    sample = sample_of(3)
    pair = named_rightly([said(row, "true") for row in range(3)], sample, WORLD)
    one = claim_figures([said(0, "true")], [None], sample, WORLD, pair, calibrated=False)["context"]
    assert (one["auroc"], one["ece"], one["precision_at_equal_recall"]) == (None, None, None)
    assert one["reached"] == pytest.approx(1 / 3)
    assert one["reasons"]["precision_at_equal_recall"] == "all its claims have 1 true ones, the pair's 3"
    assert one["reasons"]["auroc"] == one["reasons"]["ece"] == "it gives no scores"
    silent = claim_figures([], [], sample, WORLD, pair, calibrated=False)["now"]
    assert (silent["n"], silent["precision"]) == (0, None)
    assert set(silent["reasons"].values()) == {"it claims nothing of this family"}


def test_every_language_has_its_families_and_the_context_claims():
    assert groups(WORLD) == ["now", "context", "context_claims"]
    assert groups(TEXT) == ["next", "ahead", "now", "context", "context_claims"]


def test_shares_are_of_the_rows_that_decide_a_kind_and_leave_out_what_no_teacher_says():
    def fact(kind: str, value: str | None) -> Fact:
        return Fact(kind, "open" if value is None else "stated", () if value is None else (value,))

    rows = [
        {"topic": fact("topic", "arts"), "will_list": fact("will_list", "no")},
        {"topic": fact("topic", "arts"), "will_list": fact("will_list", "no")},
        {"topic": fact("topic", None)},
        {},
    ]
    found = {(one.claim.relation, one.claim.value): one.score for one in shares_of(TEXT, rows)}
    assert found == {("topic", "arts"): pytest.approx(2 / 3)}


def test_next_tokens_are_claims_of_the_text_language_with_their_probabilities():
    found = {(claim.relation, claim.value): share for claim, share in TEXT.of_next([(" barn", 0.8), (" Barn", 0.1)])}
    assert found[("next_token", "barn")] == 0.8
    assert found[("certainty", "sure")] == 0.8
    assert TEXT.of_next([]) == []
    assert WORLD.of_next([(" barn", 0.8)]) == []
    assert value_claim(TEXT, "topic", "arts").family == "context"


def test_names_are_all_or_some_and_the_pair_is_among_them():
    assert chosen("all") == ["pair", "no-activation", "other-activation", *INSTRUMENTS]
    assert chosen("probes, logit-lens,probes") == ["pair", "logit-lens", "probes"]
    with pytest.raises(UsageError, match="no instrument 'logitlens': expected all, or some of pair, no-activation"):
        chosen("logitlens")


def test_weights_are_of_an_instrument_that_learns(tmp_path):
    with pytest.raises(UsageError, match=r"--weights is 'probes=x', expected NAME=FILE with one of tuned-lens"):
        weights_given(["probes=x"])
    with pytest.raises(UsageError, match="Make it: legible instrument tuned-lens"):
        weights_given([f"tuned-lens={tmp_path / 'none'}"])


def test_a_hostile_note_is_escaped_on_the_page_and_made_visible_in_the_terminal(tmp_path):
    nothing = dict.fromkeys(
        ("families", "context_claims", "fve", "centered_cosine", "kl_recovered", "retrieval", "twins", "labels",
         "texts", "matched_minus_mismatched", "cpu_s_per_token", "train_cpu_s", "reconstructed_by"),
    )  # fmt: skip
    row = {
        "name": "lens",
        "what": "<b>what</b>",
        "role": "rival",
        "rules_out": "",
        "note": "n/a: <i>\x1b[31m",
        **nothing,
    }
    report = {"instruments": [row], "checkpoint": "c", "target": "t", "layer": 1, "rows": 2, "documents": 1, "seed": 0,
              "commit": "x"}  # fmt: skip
    write_rivals(tmp_path / "page.html", report)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;what" in page
    assert "<i>" not in page
    assert "\x1b" not in page + "\n".join(rival_lines(report))
