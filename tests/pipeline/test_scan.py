"""Scans of the built-in target, whose facts are known, and of a small corpus through the program."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from legible import languages
from legible.data.capture import capture
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.evaluate.scan import FOLDS, NEXT_TOKENS, SCAN_CAPTURE, LayerScan, propose, scan, scan_layer
from legible.evaluate.scan_report import scan_lines, write_scan
from legible.languages.base import Fact
from legible.languages.text import TextLanguage
from legible.languages.world import story_document
from legible.probes import fit as probe_fit
from legible.probes.lookup import TokenLookup
from legible.reading.zero_shot import open_model
from legible.recipes.scan import parse_layers
from legible.stats import Interval, fold_of
from legible.vectors import direction_mse, norm_outliers, variance

CONFIG = SCAN_CAPTURE.model_copy(update={"positions_per_doc": 12})


@pytest.fixture(scope="module", autouse=True)
def hurried_probes():
    """Probes of a few steps: no test here asks how good they are on real activations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_fit, "MIN_STEPS", 40)
        patch.setattr(probe_fit, "EPOCHS", 4)
        yield


@pytest.fixture(scope="module")
def stories():
    return [story_document("train", 0, index) for index in range(40)]


@pytest.fixture(scope="module")
def report(stories):
    target, _ = open_model("builtin")
    return scan(target, stories, languages.get("world"), layers=(0, 2), config=CONFIG)


def test_every_layer_has_its_figures_with_intervals(report):
    assert [layer["layer"] for layer in report["layers"]] == [0, 2]
    assert (report["rows"], report["documents"], report["labels"]) == (480, 40, "world")
    for layer in report["layers"]:
        assert 0 < layer["variance"] <= 1
        assert layer["left"] == pytest.approx(1 - max(0.0, layer["lookup_fve"]["value"]))
        for name in ("lookup_fve", "facts_add", "next_add", "named_add"):
            found = layer[name]
            assert found["low"] <= found["value"] <= found["high"]
            assert (found["n"], found["documents"]) == (480, 40)


def test_no_share_of_a_scan_is_above_one_and_too_few_documents_are_named(report):
    for layer in report["layers"]:
        for name in ("facts_add", "next_add", "named_add"):
            assert layer[name]["value"] <= layer["left"] <= 1
    lines = "\n".join(scan_lines(report))
    assert "The lookup is worse than the mean at layer 0, 2: fitted on 40 documents" in lines


def test_the_layer_that_was_trained_to_hold_the_facts_is_proposed(report):
    first, planted = report["layers"]
    assert report["proposal"]["layer"] == 2
    assert planted["facts_add"]["low"] > first["facts_add"]["high"]
    assert planted["lookup_fve"]["value"] < first["lookup_fve"]["value"]


def test_the_figures_are_those_of_a_plain_capture_and_of_fits_on_other_documents(report, stories, tmp_path):
    target, _ = open_model("builtin")
    config = CONFIG.model_copy(update={"layers": (2,), "predictions": NEXT_TOKENS, "dtype": "float32"})
    sample = Sample.of_store(capture(target, stories, config, tmp_path / "store"), 2, None)
    fold = np.array([fold_of(name, FOLDS, 0) for name in sample.doc_ids])
    missed = 0.0
    for part in range(FOLDS):
        seen, held = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        lookup = TokenLookup.fit(sample.vectors[seen], sample.columns.take(seen), [sample.doc_ids[i] for i in seen])
        missed += float(direction_mse(lookup.predict(sample.columns.take(held)), sample.vectors[held]).sum())
    found = report["layers"][1]
    norms = sample.vectors.norm(dim=-1)
    assert found["variance"] == pytest.approx(variance(sample.vectors), rel=2e-3)
    assert found["lookup_fve"]["value"] == pytest.approx(1 - missed / 480 / variance(sample.vectors), abs=5e-3)
    assert found["norm"]["median"] == pytest.approx(float(norms.median()), rel=1e-2)
    assert found["norm"]["max_over_median"] == pytest.approx(float(norms.max() / norms.median()), rel=1e-2)


def test_a_fact_that_the_vector_is_made_of_explains_what_the_tokens_leave(stories, tmp_path):
    target, _ = open_model("builtin")
    language = languages.get("world")
    config = CONFIG.model_copy(update={"layers": (0,), "predictions": NEXT_TOKENS})
    sample = Sample.of_store(capture(target, stories, config, tmp_path / "store"), 0, language)
    rng = torch.Generator().manual_seed(0)
    table = {mood: torch.randn(16, generator=rng) for mood in sorted({_mood(f) for f in sample.facts})}
    vectors = torch.stack([table[_mood(f)] for f in sample.facts]) + 0.1 * torch.randn(480, 16, generator=rng)
    fold = np.array([fold_of(name, FOLDS, 0) for name in sample.doc_ids])
    found = scan_layer(replace(sample, vectors=vectors), 0, fold, language)
    assert found.lookup_fve.value < 0.3
    assert found.facts_add is not None
    assert found.facts_add.low > 0.3
    assert found.facts_add.high <= 1
    assert found.probes is not None
    assert found.probes.scores["mood"].corrected.value > 0.9


def _mood(facts) -> str:
    fact = facts["mood"]
    return fact.values[0] if fact.values else "open"


def test_without_labels_only_the_targets_own_tokens_are_named(stories):
    target, _ = open_model("builtin")
    report = scan(target, stories[:20], None, layers=(3,), config=CONFIG)
    layer = report["layers"][0]
    assert (layer["facts_add"], layer["named_add"], layer["probes"]) == (None, None, None)
    assert layer["next_add"]["n"] == report["rows"]
    assert report["labels"] is None
    assert "the target's next tokens" in report["proposal"]["reason"]
    assert "logit lens" in report["proposal"]["reason"] or "add nothing" in report["proposal"]["reason"]


def layer_scan(layer: int, lookup: float, named: float) -> LayerScan:
    interval = lambda value: Interval(value, value - 0.1, value + 0.1, 50, 10)
    return LayerScan(layer, 0.9, interval(lookup), interval(named / 2), interval(named / 2), interval(named), None,
                     1.0, 1.5, 0.0)  # fmt: skip


def test_the_proposal_follows_what_words_add_and_else_what_tokens_leave():
    found = propose([layer_scan(0, 0.2, 0.1), layer_scan(1, 0.6, 0.3)], 3)
    assert (found["layer"], found["ranking"]) == (1, [1, 0])
    assert "Next comes layer 0 with 0.10" in found["reason"]
    silent = propose([layer_scan(0, 0.6, -0.1), layer_scan(1, 0.2, -0.2)], 3)
    assert silent["layer"] == 1
    assert "add nothing" in silent["reason"]
    assert "logit lens" in propose([layer_scan(2, 0.2, 0.1)], 3)["reason"]


def test_outliers_are_three_times_longer_or_shorter_than_the_median():
    norms = torch.tensor([1.0, 1.0, 1.0, 3.1, 0.3, 2.9, float("nan")])
    assert norm_outliers(norms[:6]).tolist() == [False, False, False, True, True, False]
    assert bool(norm_outliers(norms[4:]).all())


def test_too_few_or_too_short_documents_are_refused(stories):
    target, _ = open_model("builtin")
    with pytest.raises(UsageError, match="only 2 documents are long enough"):
        scan(target, stories[:2], None, layers=(0,), config=CONFIG)
    with pytest.raises(UsageError, match="shorter than the earliest position read"):
        scan(target, stories[:5], None, layers=(0,), config=CONFIG.model_copy(update={"min_pos": 280}))
    with pytest.raises(UsageError, match="all' or numbers such as"):
        parse_layers("one", 4)
    with pytest.raises(UsageError, match="layer 4 is out of range"):
        parse_layers("1,4", 4)
    assert parse_layers("2,0,2", 4) == [0, 2]


@pytest.fixture
def corpus(tmp_path, stories) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": d.text}) + "\n" for d in stories[:30]), encoding="utf-8")
    return path


def test_a_corpus_is_scanned_with_what_is_true_of_any_text_and_the_next_command_printed(legible, corpus, tmp_path):
    page = tmp_path / "deep" / "scan.html"
    quick = ["--positions", "8", "--layers", "1", "--threads", "1"]
    done = legible("scan", "builtin", "--corpus", str(corpus), *quick, "--html", str(page), "--json")
    report = json.loads(done.out)
    assert done.code == 0
    assert report["labels"] == "text"
    assert {"certainty"} <= set(report["kinds"]["decided"])
    assert set(report["kinds"]["decided"]) == set(report["layers"][0]["probes"]["kinds"])
    assert {"in_code", "speaker"} <= set(report["kinds"]["alike"])
    assert {"topic", "will_ask"} <= set(report["kinds"]["undecided"])
    command = report["proposal"]["command"]
    assert command.startswith("legible train small --target /")
    assert f"builtin/target --corpus {corpus}" in command
    assert command.endswith("--layer 1 --teacher text --out runs/mine")
    assert "scan: layers" in done.err
    html = page.read_text(encoding="utf-8")
    assert command in html
    assert "The same at every token: speaker, " in html
    assert "<script" not in html
    lines = "\n".join(scan_lines(report))
    assert "train at layer 1" in lines
    assert command in lines
    assert "Undecided, for want of labels" in lines


def test_texts_of_which_nothing_differs_are_scanned_by_the_next_tokens_alone(stories):
    class Dull(TextLanguage):
        """Decides the same at every token."""

        captured: ClassVar[Mapping[str, int | bool]] = {}

        def facts(self, row):
            return {"speaker": Fact("speaker", "stated", ("nobody",), "text")}

    target, _ = open_model("builtin")
    report = scan(target, stories[:20], Dull(), layers=(3,), config=CONFIG)
    layer = report["layers"][0]
    assert (layer["facts_add"], layer["named_add"], layer["probes"]) == (None, None, None)
    assert (report["kinds"]["decided"], report["kinds"]["alike"]) == ([], ["speaker"])
    lines = "\n".join(scan_lines({**report, "proposal": {**report["proposal"], "command": "x"}}))
    assert "No kind of fact differs from token to token here, so no facts are added and no probes fitted." in lines


def test_help_shows_commands_that_run(legible):
    done = legible("scan", "--help")
    assert done.code == 0
    assert "legible scan builtin" in done.out


def test_what_a_scan_cannot_do_is_said(legible, corpus):
    cases = {
        "no corpus to scan": ["some/model"],
        "knows no fact of these texts": [
            "builtin",
            "--corpus",
            str(corpus),
            "--labels",
            "world",
            "--layers",
            "0",
            "--threads",
            "1",
        ],
        "unknown language 'latin'": ["builtin", "--labels", "latin"],
        "--documents is 0": ["builtin", "--documents", "0"],
    }
    for message, arguments in cases.items():
        done = legible("scan", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err


def test_a_hostile_model_name_cannot_act_in_the_page(report, tmp_path):
    hostile = {**report, "model": "<img src=x>\x1b]0;", "corpus": None, "proposal": {"layer": 2, "reason": "<b>"}}
    hostile["proposal"]["command"] = "<img src=x>\u202e"
    write_scan(tmp_path / "scan.html", hostile)
    page = (tmp_path / "scan.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert not {"\x1b", "\u202e"} & set(page)
    assert "\u202e" not in "\n".join(scan_lines(hostile))
