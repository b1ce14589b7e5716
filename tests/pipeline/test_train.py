"""Trainings learn what they should, agree with plain computations, and stop with a reason when they cannot."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_jobs as jobs
from torch import nn

from legible.contract import LegibleExtra, TargetRecord, VarianceRecord, check_contract
from legible.data.store import Store
from legible.engines.local import LocalEngine
from legible.errors import ContractError, TrainingError, UsageError
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.prompts import template_reconstructor_prompt
from legible.train.checkpoint import load_checkpoint, save_checkpoint
from legible.train.joint import JointTrainer
from legible.train.lm import BaggedLM, LMBatch, future_bag, new_lm
from legible.train.loop import Loop, generator
from legible.train.optim import RoleOptimizer
from legible.train.rl import train_rl, weights_sha256
from legible.train.rollouts import as_batch, roll_out
from legible.train.sft import reconstructor_loss, train_sft, verbalizer_loss, warm_roles
from legible.vectors import direction_mse
from legible.world import build_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A target, a store, a teacher's file and a finished warm start."""
    path = tmp_path_factory.mktemp("train")
    jobs.prepare(path)
    jobs.sft(path, path / "sft")
    return path


@pytest.fixture
def target(folder) -> Target:
    return Target.load(str(folder / "target"))


@pytest.fixture
def store(folder) -> Store:
    return Store.open(folder / "store")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# the target


def test_the_future_bag_holds_the_words_strictly_still_to_come():
    ids = torch.tensor([[5, 7, 5, 9, 7], [9, 9, 5, 0, 0]])
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    column = torch.tensor([0, -1, -1, -1, -1, 1, -1, 2, -1, -1])  # 0, 5 and 7 are content words
    found = future_bag(ids, mask, column, 3)
    content = {0: 0, 5: 1, 7: 2}
    for row in range(2):
        length = int(mask[row].sum())
        for pos in range(length):
            later = {content[token] for token in ids[row, pos + 1 : length].tolist() if token in content}
            assert set(found[row, pos].nonzero().flatten().tolist()) == later


def test_padding_changes_no_loss():
    model = BaggedLM(new_lm(jobs.PRETRAIN, build_tokenizer()), jobs.LAYER, 16.0, torch.arange(300, 330))
    ids = torch.randint(300, 330, (2, 9), generator=generator(0, "test"))
    mask = torch.ones(2, 9, dtype=torch.bool)
    padded = LMBatch(nn.functional.pad(ids, (0, 4), value=0), nn.functional.pad(mask, (0, 4), value=False))
    for plain, other in zip(model.losses(LMBatch(ids, mask)), model.losses(padded), strict=True):
        torch.testing.assert_close(plain, other)


def test_the_saved_target_is_a_plain_model_without_the_bag(tmp_path):
    jobs.main("pretrain", tmp_path)
    target = Target.load(str(tmp_path / "pretrain" / "target"))
    assert not [name for name, _ in target.model.named_parameters() if "bag" in name]
    target.self_check(jobs.LAYER)
    metrics = lines(tmp_path / "pretrain" / "target.training" / "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(1, jobs.PRETRAIN.steps + 1))
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert all(row["bag_loss"] > 0 for row in metrics)


# the warm start


def test_both_roles_learn(folder):
    metrics = lines(folder / "sft" / "metrics.jsonl")
    for role in ("av", "ar"):
        losses = [row["loss"] for row in metrics if row["role"] == role]
        assert len(losses) == jobs.SFT.steps
        assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_refused_and_truncated_texts_are_counted(folder, tmp_path, store, target):
    config = jobs.SFT.model_copy(update={"steps": 1, "max_explanation_tokens": 4})
    result = jobs.sft(folder, tmp_path / "sft", config)
    taught = lines(folder / "teach.jsonl")
    assert result.refused == sum(row["text"] is None for row in taught) > 0
    assert result.rows + result.refused == len(store)
    lengths = [len(target.tokenizer(row["text"] or "", add_special_tokens=False)["input_ids"]) for row in taught]
    assert result.truncated == sum(length > 4 for length in lengths) > 0


def test_a_batch_loses_what_its_rows_lose_alone(folder, target, store):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    vectors = store.vectors([0, 1, 2], jobs.LAYER)
    ids = [[300, 301, 2], [305, 2], [306, 307, 308, 309, 2]]
    alone = [verbalizer_loss(verbalizer, vectors[i : i + 1], [ids[i]]) * len(ids[i]) for i in range(3)]
    together = verbalizer_loss(verbalizer, vectors, ids) * sum(map(len, ids))
    torch.testing.assert_close(together, sum(alone), rtol=1e-5, atol=1e-5)
    read = [reconstructor_loss(reconstructor, vectors[i : i + 1], [ids[i]]) for i in range(3)]
    torch.testing.assert_close(reconstructor_loss(reconstructor, vectors, ids), sum(read) / 3, rtol=1e-5, atol=1e-5)


def test_an_adapter_goes_on_where_it_was_saved(folder, target, store, tmp_path):
    config = jobs.SFT.model_copy(update={"steps": 3, "adapter": jobs.ADAPTER})
    jobs.sft(folder, tmp_path, config)
    verbalizer, _ = warm_roles(config, target, jobs.LAYER, tmp_path)
    assert any("lora" in name for name, p in verbalizer.named_parameters() if p.requires_grad)
    merged = Verbalizer.load(tmp_path / "av", verbalizer.prompt, verbalizer.injection)
    vectors, ids = store.vectors([0, 1], jobs.LAYER), torch.tensor([[300, 2], [301, 2]])
    plain = merged.logprobs(vectors, ids, torch.ones_like(ids))
    torch.testing.assert_close(plain, verbalizer.logprobs(vectors, ids, torch.ones_like(ids)), rtol=1e-4, atol=1e-4)
    assert weights_sha256(target.model) == weights_sha256(Target.load(str(folder / "target")).model)


def test_another_configuration_does_not_reuse_a_finished_warm_start(folder):
    with pytest.raises(UsageError, match="another configuration"):
        jobs.sft(folder, folder / "sft", jobs.SFT.model_copy(update={"steps": 31}))


def test_a_teachers_file_of_another_store_is_refused(folder, tmp_path, target, store):
    other = tmp_path / "teach.jsonl"
    other.write_text(json.dumps({"row": 10_000, "text": "a cat", "claims": []}) + "\n")
    with pytest.raises(UsageError, match=r"names row 10000, but the store has \d+ rows"):
        train_sft(jobs.SFT, target, jobs.LAYER, store, other, tmp_path / "sft")


# joint training


def test_log_probabilities_of_rollouts_are_those_of_the_update(folder, target, store):
    verbalizer, _ = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    rows = [0, 5, 9]
    groups = roll_out(
        LocalEngine(verbalizer), store.vectors(rows, jobs.LAYER), rows,
        group=4, temperature=0.8, max_tokens=12, seed=1,
    )  # fmt: skip
    for group in groups:
        batch = as_batch(group.rollouts)
        vectors = store.vectors([group.row] * 4, jobs.LAYER)
        again = verbalizer.logprobs(vectors, batch.ids, batch.mask.long(), temperature=0.8)
        torch.testing.assert_close(again.detach(), batch.logprobs, rtol=1e-4, atol=1e-4)


def test_micro_batches_add_up_to_the_gradient_of_the_whole(folder, target, store, monkeypatch):
    def gradient(tokens: int) -> torch.Tensor:
        monkeypatch.setattr("legible.train.joint.MICRO_TOKENS", tokens)
        monkeypatch.setattr(RoleOptimizer, "step", lambda *_: 0.0)
        verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
        config = jobs.RL.model_copy(update={"minibatches": 1, "prompts": 6})
        JointTrainer(config, verbalizer, reconstructor, LocalEngine(verbalizer), store, jobs.LAYER, None).step(0)
        grads = [
            p.grad.flatten() for role in (verbalizer, reconstructor) for p in role.parameters() if p.grad is not None
        ]
        return torch.cat(grads)

    torch.testing.assert_close(gradient(40), gradient(100_000), rtol=1e-3, atol=1e-5)


def test_joint_training_raises_the_reward(folder, tmp_path):
    optimizer = jobs.OPTIMIZER.model_copy(update={"lr": 3e-3, "schedule": "constant"})
    config = jobs.RL.model_copy(
        update={"steps": 10, "prompts": 8, "group": 6, "kl": 0.0, "verbalizer": optimizer, "reconstructor": optimizer}
    )
    jobs.rl(folder, folder / "sft", tmp_path, config)
    rewards = [row["reward"] for row in lines(tmp_path / "metrics.jsonl")]
    assert sum(rewards[-4:]) > sum(rewards[:4])


@pytest.mark.parametrize(("slope", "best"), [(1.0, 4), (-1.0, 0)])
def test_the_best_by_the_held_out_measure_is_kept_the_warm_start_included(folder, target, store, tmp_path, slope, best):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    start = weights_sha256(verbalizer)
    seen: list[str] = []

    def measure(verbalizer: Verbalizer, _: nn.Module) -> dict[str, float]:
        seen.append(weights_sha256(verbalizer))
        return {"score": slope * len(seen)}

    result = train_rl(jobs.RL, verbalizer, reconstructor, jobs.LAYER, store, measure, tmp_path)
    assert [row["step"] for row in result.measured] == [0, 2, 4]
    assert result.best_step == best
    assert weights_sha256(verbalizer) == (seen[-1] if best else start)
    saved = Verbalizer.load(tmp_path / "av", verbalizer.prompt, verbalizer.injection)
    assert weights_sha256(saved) == weights_sha256(verbalizer)


def test_equal_rewards_everywhere_are_an_error_not_a_step(folder, target, store, tmp_path):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    config = jobs.RL.model_copy(update={"temperature": 1e-4, "length_cost": 0.01})
    before = weights_sha256(verbalizer)
    with pytest.raises(TrainingError, match="there is no signal to learn from"):
        train_rl(config, verbalizer, reconstructor, jobs.LAYER, store, lambda *_: {"score": 0.0}, tmp_path)
    assert weights_sha256(verbalizer) == before


def test_a_measure_that_does_not_exist_is_named(folder, target, store, tmp_path):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    with pytest.raises(UsageError, match=r"rl\.select_by is 'score'.*\n  fve\."):
        train_rl(jobs.RL, verbalizer, reconstructor, jobs.LAYER, store, lambda *_: {"fve": 0.0}, tmp_path)


# the loop


def toy(state: Path) -> tuple[Loop, nn.Linear, RoleOptimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(3, 3)
    optimizer = RoleOptimizer(model, jobs.OPTIMIZER, 8)
    modules, optimizers = {"toy": model}, {"toy": optimizer}
    return Loop("toy", 8, 3, state, state.with_name("m.jsonl"), modules, optimizers, "a"), model, optimizer


def toy_step(model: nn.Linear, optimizer: RoleOptimizer, index: int) -> dict:
    loss = model(torch.randn(4, 3, generator=generator(0, "toy", index))).square().mean()
    loss.backward()
    value = loss.item()
    optimizer.step(index)
    return {"loss": value}


def test_ctrl_c_saves_the_finished_step_and_the_next_run_goes_on(tmp_path):
    whole, model, optimizer = toy(tmp_path / "whole" / "s.safetensors")
    whole.run(lambda index: toy_step(model, optimizer, index))

    def interrupted(index: int) -> dict:
        if index == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return toy_step(broken_model, broken_optimizer, index)

    first, broken_model, broken_optimizer = toy(tmp_path / "broken" / "s.safetensors")
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupted)
    second, broken_model, broken_optimizer = toy(tmp_path / "broken" / "s.safetensors")
    started: list[int] = []
    second.run(lambda index: started.append(index) or toy_step(broken_model, broken_optimizer, index))
    assert started == [5, 6, 7]
    for name in ("s.safetensors", "m.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_state_of_another_configuration_or_a_damaged_one_is_refused(tmp_path):
    loop, model, optimizer = toy(tmp_path / "s.safetensors")
    loop.run(lambda index: toy_step(model, optimizer, index))
    other = dataclasses.replace(loop, made_by="b")
    with pytest.raises(UsageError, match=r"was made by another configuration \(a, now b\)"):
        other.run(lambda index: {})
    loop.state.write_bytes(loop.state.read_bytes()[:-7])
    with pytest.raises(UsageError, match=r"s\.safetensors is not a whole training state"):
        loop.run(lambda index: {})


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    program = (
        "import resource, sys, torch; from pathlib import Path; from legible.train.loop import save_tensors\n"
        "path = Path(sys.argv[1]); save_tensors(path, {'a': torch.zeros(4)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save_tensors(path, {'a': torch.zeros(4000)})"
    )
    path = tmp_path / "state.safetensors"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert "TrainingError: cannot write" in done.stderr
    assert str(path) in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    assert path.stat().st_size < 1000


# checkpoints


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
