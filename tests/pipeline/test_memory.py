"""Memory is checked before anything is loaded or trained, and the refusal names settings that fit."""

import re
from pathlib import Path

import pytest
import torch
import train_jobs as jobs

from legible.config import CaptureConfig, Placement, SFTConfig
from legible.data.store import Store
from legible.engines import make_engine
from legible.errors import NotEnoughMemoryError, UsageError
from legible.injection import Injection
from legible.languages.world import story_document
from legible.models import memory
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.recipes.stages.rows import Capture
from legible.train.needs import sft_bytes
from legible.train.sft import train_sft

MIB = 1 / 1024  # in GiB


@pytest.fixture
def room(monkeypatch):
    """Say how many MiB count as free."""
    return lambda mib: monkeypatch.setenv(memory.VARIABLE, str(mib * MIB))


def test_weights_are_counted_from_the_heads_of_the_files(folder):
    target = Target.load(str(folder / "target"))
    held = sum(p.numel() for p in target.model.parameters())
    stored = memory.stored_tensors(str(folder / "target"))
    assert memory.weights(stored, torch.float32) == 4 * held
    assert memory.weights(stored, torch.bfloat16) == 2 * held
    maps = memory.Size.of(target.model).maps
    assert memory.weights(stored, torch.bfloat16, "8bit") == 2 * (held - maps) + maps


def test_models_that_do_not_fit_are_refused_before_they_are_loaded(room, monkeypatch, legible):
    room(6.0)
    monkeypatch.setattr("legible.models.loading.check_place", lambda *given: pytest.fail("a model was loaded"))
    found = legible("read", "builtin", "Pavel kept a hammer.")
    assert found.code == 2
    assert re.search(r"loading .*target.* needs about \d+ MiB, and 6 MiB are free on cpu", found.err)
    assert "--dtype bfloat16" in found.err
    assert memory.VARIABLE in found.err


def test_the_nearest_setting_that_is_named_does_fit(room, folder):
    name = str(folder / "target")
    plain, half = (memory.loading_bytes([name], Placement(device="cpu", dtype=d)) for d in ("float32", "bfloat16"))
    assert half < plain
    room((half + 1) / 2**20)
    with pytest.raises(NotEnoughMemoryError, match="Nearest that fits: --dtype bfloat16"):
        Target.load(name)
    assert Target.load(name, place=Placement(dtype="bfloat16")).precision == "bfloat16"


def test_where_nothing_fits_the_smallest_is_named(room, folder):
    room(0.001)
    with pytest.raises(NotEnoughMemoryError, match="the smallest is --dtype bfloat16 --quantize 4bit"):
        Target.load(str(folder / "target"))


def test_a_warm_start_that_does_not_fit_is_refused_with_a_smaller_batch(room, folder, tmp_path):
    target, config = Target.load(str(folder / "target")), SFTConfig(batch_tokens=2048)
    smaller = config.model_copy(update={"batch_tokens": 256})
    assert sft_bytes(smaller, target, jobs.LAYER) < sft_bytes(config, target, jobs.LAYER)
    room(sft_bytes(smaller, target, jobs.LAYER) / 2**20 + 0.1)
    given = (config, target, jobs.LAYER, Store.open(folder / "store"), folder / "teach.jsonl", tmp_path / "sft")
    with pytest.raises(NotEnoughMemoryError, match=r"full fine-tuning of .* needs about(.|\n)*--batch-tokens 256"):
        train_sft(*given, made_by="test")
    assert not (tmp_path / "sft").exists()


def test_a_joint_training_that_does_not_fit_is_refused(room, folder, tmp_path):
    room(0.5)
    with pytest.raises(NotEnoughMemoryError):
        jobs.rl(folder, folder / "sft", tmp_path / "rl")


def test_a_capture_that_does_not_fit_names_a_smaller_batch(room, folder, tmp_path):
    target = Target.load(str(folder / "target"))
    stage = Capture(target, [story_document("train", 0, 0)], CaptureConfig(layers=(jobs.LAYER,), min_pos=12))
    room(stage.bytes(2048) / 2**20 + 0.1)
    with pytest.raises(NotEnoughMemoryError, match=r"capturing with --batch-tokens 8192 (.|\n)*--batch-tokens 2048"):
        stage.run(tmp_path / "store")


def test_explanations_that_do_not_fit_together_are_counted(room, folder):
    verbalizer = Verbalizer.from_target(Target.load(str(folder / "target")), Injection())
    engine = make_engine(verbalizer)
    room(0.5)
    with pytest.raises(NotEnoughMemoryError, match="writing 200 explanations of up to"):
        engine.generate(torch.randn(200, verbalizer.arch.d_model), max_tokens=32)


def test_what_the_machine_says_is_free_is_positive_and_below_what_it_has():
    import psutil

    assert 0 < memory.free_memory(torch.device("cpu")) <= psutil.virtual_memory().total


def test_a_free_memory_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "plenty")
    with pytest.raises(UsageError, match=r"LEGIBLE_FREE_MEMORY is 'plenty', expected a number of GiB"):
        memory.free_memory(torch.device("cpu"))


def test_a_control_group_limits_what_counts_as_free(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    monkeypatch.setattr(memory, "GROUPS", ((Path(tmp_path), "memory.max", "memory.current"),))
    assert memory.free_memory(torch.device("cpu")) == 450
