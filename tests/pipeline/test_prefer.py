"""Offline preference training: resumable samples, exact gradients, equal bits after a kill, a checkpoint at the end."""

import json
from pathlib import Path

import pytest
import torch
import train_jobs as jobs

from legible.config import OptimizerConfig, PreferConfig
from legible.contract import LegibleExtra, TargetRecord, VarianceRecord
from legible.engines.local import LocalEngine
from legible.errors import UsageError
from legible.languages.world import WorldLanguage
from legible.models.roles import reference_copy, weights_sha256
from legible.models.target import Target
from legible.reading.checkpoint import save_checkpoint
from legible.reading.opening import load_checkpoint
from legible.train.preference import training as preference
from legible.train.preference.candidates import CANDIDATES, CHUNK, Sampler, sample_candidates
from legible.train.preference.pairs import RankedPair, pick_pairs
from legible.train.preference.training import PreferenceTrainer, completion_logprobs, micro_batches, train_preference
from legible.train.sft import warm_roles

CONFIG = PreferConfig(
    rows=2 * CHUNK + 5,
    samples=4,
    max_tokens=16,
    steps=4,
    batch=6,
    length_window=0.5,
    verbalizer=OptimizerConfig(lr=3e-3, warmup=0, schedule="constant"),
    evaluate_every=2,
    save_every=1,
    select_by="score",
)


@pytest.fixture
def roles(folder):
    return warm_roles(jobs.SFT, Target.load(str(folder / "target")), jobs.LAYER, folder / "sft")


@pytest.fixture
def sampler(roles, store) -> Sampler:
    return Sampler(CONFIG, LocalEngine(roles[0]), roles[1], store, jobs.LAYER, WorldLanguage())


@pytest.fixture
def pairs(sampler) -> list[RankedPair]:
    return pick_pairs(sampler.explain(range(CHUNK)), CONFIG)[0]


def trainer(roles, store, pairs, **options: object) -> PreferenceTrainer:
    config = CONFIG.model_copy(update=options)
    return PreferenceTrainer(config, roles[0], pairs, store, jobs.LAYER, reference_copy(roles[0]))


def test_interrupted_sampling_goes_on_and_ends_with_the_same_file(sampler, tmp_path):
    whole = sample_candidates(sampler, tmp_path / "whole")

    def stop(done: int, _total: int) -> None:
        if done == 2 * CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_candidates(sampler, tmp_path / "broken", stop)
    torn = tmp_path / "broken" / CANDIDATES
    torn.write_text(torn.read_text()[:-30])
    seen: list[int] = []
    again = sample_candidates(sampler, tmp_path / "broken", lambda done, _: seen.append(done))
    assert seen == [2 * CHUNK, CONFIG.rows]
    assert again == whole
    assert torn.read_bytes() == (tmp_path / "whole" / CANDIDATES).read_bytes()
    before = torn.read_bytes()
    assert sample_candidates(sampler, tmp_path / "broken", lambda *_: seen.append(-1)) == whole
    assert -1 not in seen
    assert torn.read_bytes() == before


def test_candidates_are_scored_as_the_reconstructor_reads_them_and_judged(sampler, roles, store):
    found = sampler.explain([3, 9])
    row, mine = next((row, one) for row, group in found.items() for one in group if one.text is not None)
    back = roles[1].reconstruct([mine.text])[0]
    target = store.vectors([row], jobs.LAYER)[0]
    cosine = torch.nn.functional.cosine_similarity(back, target, dim=0)
    assert mine.direction_mse == pytest.approx(float(2 - 2 * cosine), abs=1e-4)
    assert mine.true + mine.wrong == len([c for c in WorldLanguage().parse(mine.text).claims if c.value])
    assert mine.ids[-1] == roles[0].prompt.stop_ids[0]


@pytest.mark.parametrize("loss", ["dpo", "kto", "orpo", "simpo"])
def test_training_tells_the_chosen_from_the_rejected(loss, roles, store, pairs):
    training = trainer(roles, store, pairs, loss=loss, steps=12, batch=len(pairs))  # every step sees all of them
    first, *_, last = [training.step(index) for index in range(12)]
    if loss == "dpo":
        assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
        assert first["margin"] == pytest.approx(0.0, abs=1e-4)
    if loss == "kto":
        assert first["loss"] == pytest.approx(0.5, abs=1e-3)
    assert last["loss"] < first["loss"]
    assert last["margin"] > 0.1


@pytest.mark.parametrize("loss", ["dpo", "alphadpo"])
def test_a_batch_in_parts_gives_the_gradients_of_one_pass(loss, roles, store, pairs, monkeypatch):
    moved = trainer(roles, store, pairs, loss=loss)
    moved.step(0)  # away from the reference, where all log-ratios are equal
    taken: list[dict[str, torch.Tensor]] = []

    def take(_step: int) -> float:
        taken.append({name: p.grad.clone() for name, p in moved.optimizer.parameters.items() if p.grad is not None})
        moved.optimizer.zero_grad()
        return 0.0

    monkeypatch.setattr(moved.optimizer, "step", take)
    whole = moved.step(1)
    monkeypatch.setattr(preference, "MICRO_TOKENS", 60)
    parts = moved.step(1)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert taken[0].keys() == taken[1].keys()
    for name, gradient in taken[0].items():
        torch.testing.assert_close(taken[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_parts_cover_the_batch_in_order_and_keep_to_the_limit():
    lengths = [5, 9, 2, 30, 4]
    parts = micro_batches(lengths, 3, 40)
    assert [i for part in parts for i in part] == list(range(5))
    assert all(len(part) == 1 or len(part) * (max(lengths[i] for i in part) + 3) <= 40 for part in parts)


def test_log_probabilities_of_whole_completions_add_up_over_their_tokens(roles, store):
    ids = [[300, 301, 2], [305, 2]]
    vectors = store.vectors([0, 1], jobs.LAYER)
    together = completion_logprobs(roles[0], vectors, ids)
    alone = torch.stack([roles[0].logprobs(vectors[i : i + 1], torch.tensor([ids[i]]), torch.ones(1, len(ids[i])))
                         .sum() for i in range(2)])  # fmt: skip
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_every_pair_is_seen_once_before_any_twice(roles, store, pairs):
    training = trainer(roles, store, pairs, batch=4)
    steps = len(pairs) // 4
    seen = [pair.row for index in range(steps) for pair in training.batch(index)]
    assert len(seen) == len(set(seen)) == 4 * steps
    assert [pair.row for index in range(steps, 2 * steps) for pair in training.batch(index)] != seen


def test_a_broken_training_ends_with_the_bits_of_an_unbroken_one(folder, store, pairs, tmp_path):
    def run(out: Path, *, breaks_at: int | None = None) -> str:
        av, ar = warm_roles(jobs.SFT, Target.load(str(folder / "target")), jobs.LAYER, folder / "sft")
        calls: list[int] = []

        def measure(*_: object) -> dict[str, float]:
            calls.append(0)
            if len(calls) == breaks_at:
                raise KeyboardInterrupt
            return {"score": float(next(av.parameters()).detach().sum())}

        config = CONFIG.model_copy(update={"loss": "kto"})
        result = train_preference(config, av, ar, jobs.LAYER, store, pairs, measure, out, made_by="kto")
        assert [row["step"] for row in result.measured] == [0, 2, 4]
        return weights_sha256(av)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", breaks_at=3)
    assert (tmp_path / "broken" / "state.safetensors").exists()
    assert run(tmp_path / "broken") == whole
    files = lambda root: {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_the_warm_start_is_kept_where_nothing_beats_it(roles, store, pairs, tmp_path):
    start, ar = weights_sha256(roles[0]), weights_sha256(roles[1])
    falling = iter([3.0, 2.0, 1.0])
    result = train_preference(
        CONFIG, *roles, jobs.LAYER, store, pairs, lambda *_: {"score": next(falling)}, tmp_path / "out", made_by="dpo"
    )
    assert result.best_step == 0
    assert weights_sha256(roles[0]) == start
    assert weights_sha256(roles[1]) == ar
    measure = lambda *_: {"fve": 0.0}
    with pytest.raises(UsageError, match=r"prefer\.select_by is 'score'"):
        train_preference(CONFIG, *roles, jobs.LAYER, store, pairs, measure, tmp_path / "other", made_by="dpo")


@pytest.fixture
def checkpoint(roles, store, folder, tmp_path) -> Path:
    extra = LegibleExtra(
        target=TargetRecord(id="random", sha256=Target.load(str(folder / "target")).sha256()),
        language="world",
        variance=VarianceRecord(**store.variance(jobs.LAYER)),
    )
    return save_checkpoint(tmp_path / "checkpoint", *roles, extra, target_dir=folder / "target")


def test_the_command_leaves_a_checkpoint_and_shares_its_samples(checkpoint, folder, tmp_path, legible):
    much = ["--rows", "40", "--samples", "3", "--max-tokens", "16", "--steps", "2", "--length-window", "0.5"]
    where = ["--store", str(folder / "store"), "--dev", str(folder / "store"), "--pairs", str(tmp_path / "pairs")]
    common = [*where, *much, "--threads", "1", "--json"]
    done = legible("prefer", str(checkpoint), *common, "--out", str(tmp_path / "dpo"))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["pairs"]["pairs"] > 0
    assert found["measured"][0]["step"] == 0
    loaded = load_checkpoint(found["checkpoint"])
    assert loaded.contract.legible.parents == [str(checkpoint)]
    assert (loaded.language.name, loaded.layer) == ("world", jobs.LAYER)
    sampled = (tmp_path / "pairs" / CANDIDATES).read_bytes()
    options = ["--loss", "simpo", "--rank-by", "both", "--out", str(tmp_path / "simpo")]
    assert legible("prefer", str(checkpoint), *common, *options).code == 0
    assert (tmp_path / "pairs" / CANDIDATES).read_bytes() == sampled
    assert len(list((tmp_path / "pairs").glob("pairs-*.jsonl"))) == 2


def test_ranking_by_truth_needs_a_language(checkpoint, folder, tmp_path, legible):
    contract = checkpoint / "av" / "nla_meta.yaml"
    contract.write_text(contract.read_text().replace("language: world", "language: null"))
    where = ["--store", str(folder / "store"), "--dev", str(folder / "store"), "--out", str(tmp_path / "out")]
    refused = legible("prefer", str(checkpoint), *where, "--rank-by", "truth")
    assert refused.code == 2
    assert "needs a language that decides claims" in refused.err
    assert legible("prefer", str(checkpoint), *where, "--beta", "-1").code == 2
