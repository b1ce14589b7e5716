"""Trust through the public faces: calibrate, read --trust, what is stored, and that nothing is shared with the test."""

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import legible
from legible.config import CalibrateConfig
from legible.contract import read_contract
from legible.documents import split_of
from legible.errors import UsageError
from legible.languages.world import LANGUAGE as WORLD
from legible.languages.world import forms, lexicon, story
from legible.languages.world.english import FRAGMENTS
from legible.languages.world.language import CALIBRATE_SEED
from legible.reading.calibrated import store_calibrator
from legible.reading.checkpoint import PROBES
from legible.reading.html import reading_page
from legible.reading.opening import load_checkpoint
from legible.reading.reading import ReadClaim, filtered
from legible.reading.trusted import trusted_claims
from legible.recipes.calibrate import calibrate, windows
from legible.recipes.sources import DocumentSource
from legible.recipes.stages.calibrate import Calibrate

STORY = "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was."
KEYS = {"subject", "relation", "value", "polarity", "family", "text", "p_true", "parsed", "agreement", "leverage",
        "recurrence", "probe"}  # fmt: skip
SMALL = CalibrateConfig(documents=16, short_documents=8, samples=3, folds=2)


@pytest.fixture(scope="module")
def builtin():
    return legible.load("builtin")


@pytest.fixture(scope="module")
def small(builtin):
    """A calibrator pair fitted on a handful of stories."""
    documents = Calibrate(builtin.checkpoint, "builtin", SMALL).documents()
    return calibrate(builtin.checkpoint, SMALL, documents, split="calibrate")


def test_the_built_in_pair_says_how_far_each_claim_can_be_trusted(builtin):
    readings = builtin.read(STORY, positions="14:20")
    claims = [claim.as_dict() for reading in readings for claim in reading.claims]
    assert claims
    assert all(claim.keys() >= KEYS for claim in claims)
    assert all(0 < claim["p_true"] < 1 for claim in claims)
    assert all(claim["agreement"] is None for claim in claims)
    assert all(claim["recurrence"] is not None for claim in claims)
    assert all("p_true_reason" not in reading.as_dict() for reading in readings)


def test_samples_bring_agreement_and_leave_most_leverages_unmeasured(builtin):
    (reading,) = builtin.read(STORY, positions="-1", samples=5, seed=1)
    assert all(claim.agreement is not None and claim.recurrence is None for claim in reading.claims)
    assert sum(claim.leverage is not None for claim in reading.claims) <= 2
    assert all(claim.p_true is not None for claim in reading.claims)


def test_text_from_outside_the_world_has_no_probability_and_says_why_once(builtin):
    for reading in builtin.read("Pavel met a zebra in Zanzibar.", positions="-2:"):
        found = reading.as_dict()
        assert "ood" in found["flags"]
        assert all(claim["p_true"] is None for claim in found["claims"])
        assert found["claims"] == [] or "left the world" in found["p_true_reason"]


def test_what_the_calibrator_has_not_seen_is_refused(builtin):
    (start,) = builtin.read(STORY, positions="0")
    assert all(claim.p_true is None for claim in start.claims)
    (hot,) = builtin.read(STORY, positions="-1", samples=5, temperature=1.5)
    assert "sampled at 1.5" in hot.as_dict()["p_true_reason"]


def test_a_trust_filter_withholds_counts_and_abstains(builtin):
    (whole,) = builtin.read(STORY, positions="-1")
    sure = sorted(claim.p_true for claim in whole.claims)
    (some,) = builtin.read(STORY, positions="-1", trust=sure[-2])
    found = some.as_dict()
    assert [claim.p_true for claim in some.claims] == [c.p_true for c in whole.claims if c.p_true >= sure[-2]]
    assert found["withheld"] == len(whole.claims) - len(some.claims)
    kept = {claim.value for claim in some.claims if claim.relation != "edge"}
    gone = {claim.value for claim in whole.claims if claim.relation != "edge"} - kept
    assert all(value in found["shown"] for value in kept)
    assert not any(value in found["shown"] for value in gone)
    (none,) = builtin.read(STORY, positions="-1", trust=1.0)
    assert (none.claims, none.shown, none.as_dict()["abstains"]) == ((), None, True)
    with pytest.raises(UsageError, match=r"trust is 1.5"):
        builtin.read(STORY, trust=1.5)


def test_claims_without_a_probability_are_withheld_too(builtin):
    (reading,) = builtin.read(STORY, positions="-1")
    silent = replace(reading, claims=tuple(replace(claim, p_true=None) for claim in reading.claims))
    found = filtered(silent, 0.0, WORLD.parse)
    assert (found.claims, found.withheld, found.abstains) == ((), len(reading.claims), True)


def test_words_that_cannot_be_taken_apart_are_replaced_by_the_claims(builtin):
    (reading,) = builtin.read(STORY, positions="-1")
    odd = replace(reading, explanation="Pavel fox.", claims=(ReadClaim("Pavel", "name", "Pavel", "hero", p_true=0.9),))
    assert "fox" not in filtered(odd, 0.5, WORLD.parse).shown


def test_the_command_line_shows_trust_and_what_it_withholds(legible):
    done = legible("read", "builtin", STORY, "--positions", "14:18", "--trust", "0.9")
    assert done.code == 0
    assert "trust" in done.out
    assert re.search(r"\d\.\d\d/\d\.\d\d", done.out)
    assert re.search(r"withheld below 0.9 or without p_true: \d+ claims; readings that abstain: \d+", done.out)
    rows = [json.loads(line) for line in legible("read", "builtin", STORY, "--trust", "1", "--json").out.splitlines()]
    assert all(row["claims"] == [] and row["withheld"] >= 0 for row in rows)
    assert legible("read", "builtin", STORY, "--trust", "7").code == 2


def test_the_page_shades_claims_and_says_what_is_withheld(builtin):
    page = reading_page(STORY, builtin.read(STORY, positions="14:18", trust=0.5), builtin.about())
    assert re.search(r'class=" ?p\d+" title="p_true 0\.\d\d"', page)
    assert re.search(r"withheld: \d+; readings that abstain: \d+", page)


def test_a_calibrator_is_stored_with_its_checkpoint_and_refuses_other_weights(builtin, small, tmp_path):
    folder = tmp_path / "pair"
    shutil.copytree(builtin.checkpoint.path, folder)
    store_calibrator(folder, small)
    again = load_checkpoint(folder)
    assert again.calibrator == small
    record = read_contract(folder / "ar").legible.calibrator
    assert record.file == "calibrator.json"
    assert f"of {small.single.fitted.documents} world documents" in record.fitted_on
    tree = json.loads((folder / "calibrator.json").read_text())
    for name in ("single", "sampled"):
        tree[name]["fitted"]["pair"] = "0" * 16
    (folder / "calibrator.json").write_text(json.dumps(tree))
    assert "other weights" in load_checkpoint(folder).calibrator.refusal


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_kill_while_storing_leaves_a_checkpoint_that_loads(builtin, small, tmp_path, writes):
    folder = tmp_path / "pair"
    shutil.copytree(builtin.checkpoint.path, folder)
    child = os.fork()
    if child == 0:
        os.environ["LEGIBLE_FAULT"] = f"rename:{writes}"
        store_calibrator(folder, small)
        os._exit(0)
    assert os.waitpid(child, 0)[1] != 0
    found = load_checkpoint(folder).calibrator
    assert found in (builtin.checkpoint.calibrator, small)


def test_what_people_type_is_read_beside_the_stories_and_an_early_token_has_a_probability(builtin, small):
    read = [d.doc_id for d in Calibrate(builtin.checkpoint, "builtin", SMALL).documents()]
    assert [sum(f"-{sentences}s-" in name for name in read) for sentences in (1, 2, 3)] == [3, 3, 2]
    assert len(set(read)) == SMALL.documents + SMALL.short_documents
    at = small.single.features.index("position")
    assert small.single.center[at] < math.log(80)  # of stories alone the claims stand further on: they have 150 tokens
    early = builtin.read("Pavel kept a hammer in the pocket.", positions="1:")
    claims = [claim for reading in early for claim in reading.claims]
    assert len(claims) > 3
    assert all(claim.p_true is not None for claim in claims if claim.value is not None)


def test_calibrate_needs_a_folder_of_ones_own(legible, tmp_path):
    assert "not a folder of yours" in legible("calibrate", "builtin").err
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    assert "is there already" in legible("calibrate", "builtin", "--out", str(tmp_path / "there")).err


def test_trusted_claims_are_those_of_the_readings(builtin):
    document = DocumentSource(None, 5).documents("test", 1)[0]
    vectors, rows = windows(builtin.checkpoint, [document], CalibrateConfig(windows=2))
    found, _ = trusted_claims(builtin.checkpoint, vectors, rows)
    assert [len(claims) > 0 for claims in found] == [True] * 6
    spec = ",".join(str(row.pos) for row in rows)
    for reading, claims in zip(builtin.read(document, positions=spec), found, strict=True):
        assert [one.verdict for one in claims] == [claim.verdict for claim in reading.claims]
        assert [one.p_true for one in claims] == pytest.approx([claim.p_true for claim in reading.claims], abs=1e-4)
    alone, _ = trusted_claims(builtin.checkpoint, vectors, rows, neighbours=[[] for _ in rows])
    assert all(one.evidence.recurrence is None for claims in alone for one in claims)


def test_calibrator_and_test_share_no_document_no_combination_and_no_wording(builtin):
    fitted = builtin.checkpoint.calibrator.single.fitted
    calibration = Calibrate(builtin.checkpoint, "builtin", CalibrateConfig(seed=fitted.seed)).documents()
    assert 0.9 * len(calibration) < fitted.documents <= len(calibration)
    test, dev = DocumentSource(None, 1).documents("test", 150), DocumentSource(None, 0).documents("dev", 150)
    assert {d.doc_id for d in calibration}.isdisjoint(d.doc_id for d in (*test, *dev))
    assert all(re.match(rf"world-dev-([123]s-)?{CALIBRATE_SEED + fitted.seed}-", d.doc_id) for d in calibration)
    assert {d.text for d in calibration}.isdisjoint(d.text for d in (*test, *dev))
    for first, second in lexicon.COMBINATIONS:
        pairs = [{(story(d.doc_id).state[first], story(d.doc_id).state[second]) for d in docs}
                 for docs in (calibration, test)]  # fmt: skip
        assert pairs[0].isdisjoint(pairs[1])
    seen, held = wordings("dev"), wordings("test")
    assert seen.isdisjoint(held)
    assert not any(pattern.search(d.text) for pattern in map(matcher, held) for d in calibration)
    assert all(any(pattern.search(d.text) for d in test) for pattern in map(matcher, sorted(held)[:5]))
    assert forms.HELD_OUT_LAYOUT not in {story(d.doc_id).layout for d in calibration}


def test_a_corpus_is_split_so_that_calibration_moves_neither_training_nor_test():
    names = [f"text-{index}" for index in range(4000)]
    parts = {part: [name for name in names if split_of(name) == part] for part in ("train", "dev", "calibrate", "test")}
    assert sum(map(len, parts.values())) == len(names)
    assert min(map(len, parts.values())) > 50
    without = {name: split_of(name, dev=0.0) for name in names}
    assert {name for name in names if without[name] == "test"} == set(parts["test"])
    assert all(without[name] == "train" for name in parts["train"])


def wordings(split: str) -> set[str]:
    """Every wording of a story that a split may use and the other may not, from the generator's own books."""
    groups = [*forms.INTRO.values(), *forms.STATE.values(), *forms.REMINDERS.values(), *forms.RECAP.values(),
              forms.FILLERS, forms.MOVE, forms.SEEN, forms.UNSEEN]  # fmt: skip
    return {wording for group in groups for wording in lexicon.usable(group, split)}


def matcher(wording: str) -> re.Pattern[str]:
    """Finds a sentence of this wording, whatever its values; `{witness}, ...` is searched without its beginning."""
    body = wording.removeprefix("{witness}, ")
    return re.compile(re.sub(r"\\\{\w+\\\}", r"[\\w'-]+", re.escape(body)))


def test_the_calibrator_speaks_of_every_kind_that_the_pair_claims(builtin):
    kinds = set(builtin.checkpoint.calibrator.single.kinds)
    assert kinds >= set(FRAGMENTS)
    assert torch.isfinite(torch.tensor(builtin.checkpoint.calibrator.single.weights)).all()
    assert Path(builtin.checkpoint.path, "calibrator.json").stat().st_size < 20_000


def test_probes_belong_to_the_calibrator_that_was_fitted_with_them(builtin, tmp_path):
    own = builtin.checkpoint.path / PROBES
    bare = tmp_path / "bare"
    shutil.copytree(builtin.checkpoint.path, bare)
    (bare / PROBES).unlink()
    (silent,) = legible.load(bare).read(STORY, positions="-1")
    assert {claim.p_true for claim in silent.claims} == {None}
    assert "fitted on other weights" in silent.p_true_reason
    stage = Calibrate(legible.load(bare).checkpoint, str(bare), SMALL, probes=own)
    fitted = stage.run(tmp_path / "with")
    assert stage.run(tmp_path / "with") == fitted
    (speaking,) = legible.load(tmp_path / "with").read(STORY, positions="-1")
    assert all(claim.p_true is not None for claim in speaking.claims)
    assert any(claim.probe is not None for claim in speaking.claims)
    assert not (bare / PROBES).exists()
