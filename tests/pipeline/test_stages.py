"""A verb alone: it knows its own output by content, and has all that a whole run gives the same stage."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import train_jobs as jobs

from legible.config import CaptureConfig, PretrainConfig, RLConfig, TeachConfig
from legible.contract import read_contract
from legible.data.store import Store
from legible.errors import UsageError
from legible.languages.world import story_document
from legible.models.target import Target
from legible.reading.checkpoint import store_metrics
from legible.reading.opening import load_checkpoint
from legible.recipes.stages.rows import Capture, Teach
from legible.recipes.stages.targets import Pretrain
from legible.recipes.stages.training import RL, SFT

FEW = ("--steps", "1", "--max-tokens", "96", "--threads", "1", "--json")
ROLLOUTS = ("--prompts", "4", "--group", "4")
PAIRS = ("--rows", "24", "--samples", "12", "--length-window", "1", "--length-balance", "1")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def equal(folder, store, tmp_path_factory) -> Store:
    """A store of other documents with as many rows as `store`."""
    documents = [story_document("train", 0, index) for index in range(12, 24)]
    config = CaptureConfig.model_validate(store.origin["capture"])
    made = Capture(Target.load(str(folder / "target")), documents, config)
    found = made.run(tmp_path_factory.mktemp("equal") / "store")
    assert len(found) == len(store)
    assert found.sha256 != store.sha256
    return found


def test_rl_never_takes_the_result_of_another_store_of_equal_length(folder, store, equal, tmp_path):
    config = RLConfig(steps=1, prompts=4, group=3, max_tokens=16)
    rl = partial(RL.alone, str(folder / "sft" / "checkpoint"), config=config)
    summary = rl(store.path, equal.path).run(tmp_path / "rl")
    before = files(tmp_path)
    assert rl(store.path, equal.path).run(tmp_path / "rl") == summary
    for stores, words in (((equal.path, equal.path), "differs in store.\n"), ((store.path, store.path), "in dev.\n")):
        with pytest.raises(UsageError, match=words):
            rl(*stores).run(tmp_path / "rl")
    assert files(tmp_path) == before


def test_sft_never_takes_the_result_of_another_text_of_equal_size(folder, store, target, tmp_path):
    teach = tmp_path / "teach.jsonl"
    lines = [{"row": row, "text": "a fox ran"} for row in range(len(store))]
    teach.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = lambda: SFT.alone(target, jobs.LAYER, store, teach, jobs.SFT.model_copy(update={"steps": 1})).run(
        tmp_path / "sft"
    )
    summary = run()
    assert run() == summary
    before, size = files(tmp_path / "sft"), teach.stat().st_size
    teach.write_text(teach.read_text().replace("fox", "hen"))
    assert teach.stat().st_size == size
    with pytest.raises(UsageError, match=r"differs in teach\.\n"):
        run()
    assert files(tmp_path / "sft") == before


def test_another_configuration_takes_no_finished_warm_start(folder):
    with pytest.raises(UsageError, match=r"differs in sft\.steps \(30 there, 31 now\)"):
        jobs.sft(folder, folder / "sft", jobs.SFT.model_copy(update={"steps": 31}))


def test_pretrain_keeps_the_target_of_one_configuration(tmp_path, legible):
    small = PretrainConfig(d_model=32, n_layers=2, n_heads=2, d_ff=32, steps=1, batch=2, bag_layer=1)
    (tmp_path / "target").mkdir()  # an empty folder is free
    out = Pretrain(small).run(tmp_path / "target")
    weights = (out / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"differs in pretrain\.seed \(0 there, 1 now\)"):
        Pretrain(small.model_copy(update={"seed": 1})).run(out)
    assert (Pretrain(small).run(out) / "model.safetensors").read_bytes() == weights
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused = legible("pretrain", "--out", str(tmp_path / "mine"), "--threads", "1")
    assert (refused.code, list((tmp_path / "mine").iterdir())) == (2, [tmp_path / "mine" / "notes.txt"])
    assert "it is unknown what made it" in refused.err


def test_teach_goes_on_in_the_file_of_its_own_store_teacher_and_limit_alone(store, equal, tmp_path):
    out = tmp_path / "t.jsonl"
    counts = Teach(store, TeachConfig()).run(out)
    before = files(tmp_path)
    for stage, words in (
        (Teach(equal, TeachConfig()), "differs in store"),
        (Teach(store, TeachConfig(seed=1)), r"differs in teach\.seed \(0 there, 1 now\)"),
        (
            Teach(store, TeachConfig(limit="probes"), jobs.LAYER),
            r"teach\.limit \(none there, probes now\)",
        ),
    ):
        with pytest.raises(UsageError, match=words):
            stage.run(out)
    assert Teach(store, TeachConfig(retries=9)).run(out) == counts  # how it is asked changes no text
    assert files(tmp_path) == before
    (tmp_path / "mine.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match="it is unknown what made it"):
        Teach(store, TeachConfig()).run(tmp_path / "mine.jsonl")


@pytest.mark.parametrize("verb", ["rl", "prefer"])
def test_recall_chooses_the_best_step_of_a_verb_alone(micro_run, tmp_path, legible, verb):
    stores = [str(micro_run / "store" / split) for split in ("train", "dev")]
    given = [*stores, *ROLLOUTS] if verb == "rl" else ["--store", stores[0], "--dev", stores[1], *PAIRS]
    command = (verb, str(micro_run / "sft"), *given, *FEW, "--out", str(tmp_path / verb))
    done = legible(*command, "--select-by", "recall")
    assert done.code == 0, done.err
    assert all("recall" in row for row in json.loads(done.out)["measured"])
    refused = legible(*command[:-1], str(tmp_path / "other"), "--select-by", "recal")
    assert refused.code == 2
    assert f"{verb}.select_by is 'recal', but the held-out measures are" in refused.err
    assert "parse_failures, precision, recall." in refused.err
    assert not (tmp_path / "other").exists()


def test_a_run_refuses_a_measure_that_it_will_not_have_before_anything_is_trained(tmp_path, legible):
    for setting in ("rl.select_by=bleu", "rl.select_by=recall"):
        limit = ("--set", "teach.limit=none") if setting.endswith("recall") else ()
        refused = legible("train", "tiny", "--out", str(tmp_path / "run"), "--set", setting, *limit)
        assert refused.code == 2
        assert "the held-out measures are" in refused.err
        assert not (tmp_path / "run").exists()


def test_figures_join_a_finished_checkpoint_without_a_word_of_its_weights(micro_run, tmp_path):
    shutil.copytree(micro_run / "checkpoint", tmp_path / "pair")
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "pair").rglob("*.safetensors")}
    metrics = {"fve": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}
    store_metrics(load_checkpoint(tmp_path / "pair"), metrics)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    for role in ("av", "ar"):
        assert read_contract(tmp_path / "pair" / role).legible.metrics == metrics
    assert "0.500" in (tmp_path / "pair" / "README.md").read_text()
