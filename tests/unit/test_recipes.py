import json
import os
from typing import get_args

import pytest

from legible.cli.options import from_options
from legible.config import PretrainConfig, SFTConfig, load_config, save_config
from legible.documents import Split
from legible.errors import ConfigError, UsageError
from legible.recipes import RECIPES, parse_value, resolve
from legible.recipes.record import RunRecord
from legible.recipes.sources import DocumentSource, read_documents, write_documents


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_reads_a_layer_that_it_captures(name):
    config = RECIPES[name]()
    assert config.layer in config.capture.layers
    assert config.recipe == name


def test_a_saved_configuration_is_read_back_equal(tmp_path):
    config = resolve("tiny", seed=3, settings=["rl.steps=7", "sft.adapter.rank=4"])
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config
    assert resolve(str(tmp_path / "config.json")) == config


def test_a_layer_moves_the_capture_and_the_future_bag():
    config = resolve("tiny", layer=1)
    assert (config.layer, config.capture.layers, config.pretrain.bag_layer) == (1, (1,), 1)


def test_a_seed_reaches_every_stage_but_the_evaluation():
    config = resolve("tiny", seed=9)
    seeds = {config.seed, config.pretrain.seed, config.capture.seed, config.teach.seed, config.sft.seed, config.rl.seed}
    assert seeds == {9}


@pytest.mark.parametrize("setting", ["rl.stepz=3", "nothing.steps=3", "rl.steps=many", "sft.injection_mode=mix"])
def test_an_unknown_key_or_impossible_value_is_named(setting):
    with pytest.raises(ConfigError, match=setting.split("=")[0].split(".")[-1]):
        resolve("tiny", settings=[setting])


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        resolve("tiny", settings=["rl.steps"])


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(UsageError, match="tiny, laptop, small"):
        resolve("tyni")


def test_the_small_recipe_asks_for_target_and_corpus():
    with pytest.raises(ConfigError, match="--target and --corpus"):
        resolve("small")


def test_the_worlds_teacher_is_refused_for_other_texts():
    with pytest.raises(ConfigError, match="--teacher text"):
        resolve("tiny", corpus="texts.jsonl")


@pytest.mark.parametrize("recipe", ["small", "laptop"])
def test_another_teacher_brings_its_own_captures_and_free_text_no_limit(recipe):
    given = {"target": "model", "corpus": "texts.jsonl"}
    plain, free = resolve(recipe, **given), resolve(recipe, **given, teacher="openai:m@http://localhost:1/v1")
    wanted = lambda capture: (capture.predictions, capture.certainty, capture.continuations)
    assert (plain.teach.teacher, plain.teach.limit, wanted(plain.capture)) == ("text", "probes", (5, True, 1))
    assert (free.teach.limit, wanted(free.capture)) == ("none", (0, False, 0))
    back = resolve("tiny", corpus="texts.jsonl", teacher="text")
    assert wanted(back.capture) == (5, True, 1)


def test_a_layer_that_is_not_captured_is_refused():
    with pytest.raises(ConfigError, match=r"capture.layers"):
        resolve("tiny", settings=["layer=1"])


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("0.5", 0.5), ("null", None), ("true", True), ("1,2", [1, 2]), ("abc", "abc")]
)
def test_option_values_are_read_as_json_where_they_are(text, value):
    assert parse_value(text) == value


def test_options_reach_nested_sections():
    config = from_options(SFTConfig(), {"verbalizer__lr": "0.5", "adapter__rank": "4", "steps": "2"})
    assert (config.verbalizer.lr, config.adapter.rank, config.steps) == (0.5, 4, 2)
    assert from_options(PretrainConfig(), {}) == PretrainConfig()


def test_the_splits_of_a_corpus_share_no_document(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"Text number {i}.\n" for i in range(300)), encoding="utf-8")
    splits = get_args(Split)
    parts = {split: {d.doc_id for d in DocumentSource(str(path)).documents(split, 1000)} for split in splits}
    assert len(parts) == 4
    assert sum(len(part) for part in parts.values()) == len(set.union(*parts.values())) == 300
    assert all(parts.values())


def test_documents_are_read_back_equal(tmp_path):
    documents = DocumentSource(None, 4).documents("dev", 3)
    write_documents(tmp_path / "d.jsonl", documents)
    assert read_documents(tmp_path / "d.jsonl") == documents


def test_a_record_adds_up_interrupted_sessions(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), RunRecord(tmp_path / "run.json").stage("sft"):
            raise KeyboardInterrupt
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["stages"]["sft"]["sessions"] == 2
    assert found["machine"]["cores"] == os.cpu_count()
