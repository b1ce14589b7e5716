"""A checkpoint reads as the pair that was saved, and says what is wrong with one that does not."""

from pathlib import Path

import pytest
import torch
import train_jobs as jobs

from legible.contract import LegibleExtra, TargetRecord, VarianceRecord, check_contract
from legible.engines.local import LocalEngine
from legible.errors import ContractError, UsageError
from legible.languages.world import build_tokenizer
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.prompts import template_reconstructor_prompt
from legible.reading.checkpoint import save_checkpoint
from legible.reading.opening import load_checkpoint
from legible.train.lm import new_lm
from legible.train.sft import warm_roles
from legible.vectors import direction_mse


@pytest.fixture
def checkpoint(folder, target, store, tmp_path) -> Path:
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    extra = LegibleExtra(
        target=TargetRecord(id="random", sha256=target.sha256()),
        language="world",
        variance=VarianceRecord(**store.variance(jobs.LAYER)),
    )
    return save_checkpoint(tmp_path / "checkpoint", verbalizer, reconstructor, extra, target_dir=folder / "target")


def test_a_checkpoint_reads_as_the_pair_that_was_saved(checkpoint, folder, target, store):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    loaded = load_checkpoint(checkpoint.parent)  # a run's folder
    vectors = store.vectors(range(6), jobs.LAYER)
    ours = LocalEngine(verbalizer).generate(vectors, max_tokens=12)
    assert LocalEngine(loaded.verbalizer).generate(vectors, max_tokens=12) == ours
    texts = ["the cat", "a dog in the rain"]
    torch.testing.assert_close(loaded.reconstructor.reconstruct(texts), reconstructor.reconstruct(texts))
    assert (loaded.layer, loaded.language.name) == (jobs.LAYER, "world")
    assert loaded.variance == store.variance(jobs.LAYER)["value"]
    assert check_contract(checkpoint) == []
    assert "legible read" in (checkpoint / "README.md").read_text()


def test_a_template_of_a_released_reconstructor_survives_a_save(checkpoint, folder, target, tmp_path):
    verbalizer, _ = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    prompt = template_reconstructor_prompt(target.tokenizer, "The hero {explanation} rested.")
    released = Reconstructor.from_target(target, jobs.LAYER, prompt)
    extra = load_checkpoint(checkpoint).contract.legible
    saved = save_checkpoint(tmp_path / "released", verbalizer, released, extra, target_dir=folder / "target")
    back = load_checkpoint(saved).reconstructor
    assert back.prompt == prompt
    texts = ["is a fox", "feels sad"]
    torch.testing.assert_close(back.reconstruct(texts), released.reconstruct(texts))


def test_half_precision_on_disk_costs_little(checkpoint, folder, target, store, tmp_path):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    extra = load_checkpoint(checkpoint).contract.legible
    small = save_checkpoint(
        tmp_path / "small", verbalizer, reconstructor, extra, target_dir=folder / "target", dtype=torch.float16
    )
    sizes = [(path / "av" / "model.safetensors").stat().st_size for path in (checkpoint, small)]
    assert sizes[1] < 0.6 * sizes[0]
    texts = ["the cat", "a dog in the rain"]
    back = load_checkpoint(small).reconstructor.reconstruct(texts)
    assert direction_mse(back, reconstructor.reconstruct(texts)).max() < 1e-4


def test_a_checkpoint_beside_another_target_is_refused(checkpoint, tmp_path):
    other = Target(new_lm(jobs.PRETRAIN.model_copy(update={"seed": 9}), build_tokenizer()), build_tokenizer(), "other")
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(ContractError, match="are not those that"):
        load_checkpoint(checkpoint, target=str(tmp_path / "other"))


def test_swapped_roles_are_named(checkpoint):
    (checkpoint / "av").rename(checkpoint / "x")
    (checkpoint / "ar").rename(checkpoint / "av")
    (checkpoint / "x").rename(checkpoint / "ar")
    with pytest.raises(ContractError, match="holds the contract of ar, expected role av"):
        load_checkpoint(checkpoint)


def test_an_unknown_checkpoint_says_what_was_expected(tmp_path):
    for name in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError, match="no checkpoint"):
            load_checkpoint(name)
