"""Trainings learn what they should, agree with plain computations, and stop with a reason when they cannot."""

import json
from pathlib import Path

import pytest
import torch
import train_jobs as jobs
from torch import nn

from legible.engines import Engine, LocalEngine
from legible.engines.sampling import numbered
from legible.errors import TrainingError, UsageError
from legible.languages.world import build_tokenizer
from legible.models.roles import weights_sha256
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.train.joint import JointTrainer
from legible.train.lm import BaggedLM, LMBatch, future_bag, new_lm
from legible.train.loop import generator
from legible.train.optim import RoleOptimizer
from legible.train.rl import train_rl
from legible.train.rollouts import as_batch, roll_out
from legible.train.sft import reconstructor_loss, train_sft, verbalizer_loss, warm_roles
from legible.train.terms.extras import Extras


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
    assert result["refused"] == sum(row["text"] is None for row in taught) > 0
    assert result["rows"] + result["refused"] == len(store)
    lengths = [len(target.tokenizer(row["text"] or "", add_special_tokens=False)["input_ids"]) for row in taught]
    assert result["truncated"] == sum(length > 4 for length in lengths) > 0


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
    verbalizer.save(tmp_path / "merged", merged=True)
    merged = Verbalizer.load(tmp_path / "merged", verbalizer.prompt, verbalizer.injection)
    vectors, ids = store.vectors([0, 1], jobs.LAYER), torch.tensor([[300, 2], [301, 2]])
    plain = merged.logprobs(vectors, ids, torch.ones_like(ids))
    torch.testing.assert_close(plain, verbalizer.logprobs(vectors, ids, torch.ones_like(ids)), rtol=1e-4, atol=1e-4)
    assert weights_sha256(target.model) == weights_sha256(Target.load(str(folder / "target")).model)


def test_a_teachers_file_of_another_store_is_refused(folder, tmp_path, target, store):
    other = tmp_path / "teach.jsonl"
    other.write_text(json.dumps({"row": 10_000, "text": "a cat", "claims": []}) + "\n")
    with pytest.raises(UsageError, match=r"names row 10000, but the store has \d+ rows"):
        train_sft(jobs.SFT, target, jobs.LAYER, store, other, tmp_path / "sft", made_by="sft")


# joint training


def test_log_probabilities_of_rollouts_are_those_of_the_update(folder, target, store):
    verbalizer, _ = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    rows = [0, 5, 9]
    groups = roll_out(
        LocalEngine(verbalizer), store.vectors(rows, jobs.LAYER), rows, numbered(1, 3),
        group=4, temperature=0.8, max_tokens=12,
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
        engine = LocalEngine(verbalizer)
        extras = Extras.of(config, store, jobs.LAYER, verbalizer.tokenizer)
        JointTrainer(config, verbalizer, reconstructor, engine, store, jobs.LAYER, None, extras).step(0)
        grads = [
            p.grad.flatten() for role in (verbalizer, reconstructor) for p in role.parameters() if p.grad is not None
        ]
        return torch.cat(grads)

    torch.testing.assert_close(gradient(40), gradient(100_000), rtol=1e-3, atol=1e-5)


def test_joint_training_raises_the_reward(folder, tmp_path):
    optimizer = jobs.OPTIMIZER.model_copy(update={"lr": 3e-3, "schedule": "constant"})
    config = jobs.RL.model_copy(
        update={"steps": 30, "prompts": 8, "group": 6, "kl": 0.0, "verbalizer": optimizer, "reconstructor": optimizer}
    )
    jobs.rl(folder, folder / "sft", tmp_path, config)
    rewards = [row["reward"] for row in lines(tmp_path / "metrics.jsonl")]
    assert sum(rewards[-10:]) > sum(rewards[:10])


@pytest.mark.parametrize(("slope", "best"), [(1.0, 4), (-1.0, 0)])
def test_the_best_by_the_held_out_measure_is_kept_the_warm_start_included(folder, target, store, tmp_path, slope, best):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    start = weights_sha256(verbalizer)
    seen: list[str] = []

    def measure(_engine: Engine, _reconstructor: nn.Module) -> dict[str, float]:
        seen.append(weights_sha256(verbalizer))
        return {"score": slope * len(seen)}

    result = train_rl(jobs.RL, verbalizer, reconstructor, jobs.LAYER, store, measure, tmp_path, made_by="rl")
    assert [row["step"] for row in result.measured] == [0, 2, 4]
    assert result.best_step == best
    assert weights_sha256(verbalizer) == (seen[-1] if best else start)
    saved = Verbalizer.load(tmp_path / "av", verbalizer.prompt, verbalizer.injection)
    assert weights_sha256(saved) == weights_sha256(verbalizer)


def test_equal_rewards_everywhere_are_an_error_not_a_step(folder, target, store, tmp_path):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    config = jobs.RL.model_copy(update={"temperature": 1e-4, "length_cost": 0.01})
    before = weights_sha256(verbalizer)
    measure = lambda *_: {"score": 0.0}
    with pytest.raises(TrainingError, match="there is no signal to learn from"):
        train_rl(config, verbalizer, reconstructor, jobs.LAYER, store, measure, tmp_path, made_by="rl")
    assert weights_sha256(verbalizer) == before


def test_a_measure_that_does_not_exist_is_named(folder, target, store, tmp_path):
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    measure = lambda *_: {"fve": 0.0}
    with pytest.raises(UsageError, match=r"rl\.select_by is 'score'.*\n  fve\."):
        train_rl(jobs.RL, verbalizer, reconstructor, jobs.LAYER, store, measure, tmp_path, made_by="rl")
