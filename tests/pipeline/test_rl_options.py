"""Options of joint training: each moves what it should on a tiny pair, none moves anything when off, all resume."""

from itertools import count
from pathlib import Path

import pytest
import torch
import train_jobs as jobs
from scripted import WORLD, Scripted, said_of, trainer

from legible.config import RLConfig
from legible.errors import UsageError
from legible.models.roles import reference_copy, weights_sha256
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.probes.ridge import TokenColumns
from legible.reading.opening import load_checkpoint
from legible.recipes.pair import pair_of
from legible.train.joint import JointTrainer
from legible.train.rl import train_rl
from legible.train.rollouts import Rollout, RolloutGroup, prompt_rows, scored_rollouts
from legible.train.sft import warm_roles
from legible.train.terms.extras import Knowledge
from legible.train.terms.leverage import leverages
from legible.train.terms.said import said_in
from legible.train.terms.spaces import Direction

STILL = jobs.OPTIMIZER.model_copy(update={"lr": 1e-4, "muon_lr": 0.0, "schedule": "constant", "warmup": 0})
ALONE = jobs.RL.model_copy(
    update={
        "prompts": 1, "group": 2, "kl": 0.0, "length_cost": 0.0, "minibatches": 1, "verbalizer": STILL,
        "reconstructor": STILL,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def knowledge(store, folder) -> Knowledge:
    columns = TokenColumns.of(store.token_ids, store.prev_token_ids, store.pos)
    vectors = store.vectors(range(len(store)), jobs.LAYER)
    target = Target.load(str(folder / "target"))
    return Knowledge(WORLD, TokenLookup.fit(vectors, columns, store.doc_ids), target)


def test_an_option_that_is_off_changes_no_bit(folder, store, knowledge):
    off = jobs.RL.model_copy(update={"false_price": 7.0, "open_price": 3.0, "unknown_price": 0.5})
    plain, other = trainer(folder, store, jobs.RL, None), trainer(folder, store, off, None, knowledge)
    assert [plain.step(i) for i in range(2)] == [other.step(i) for i in range(2)]
    assert weights_sha256(plain.verbalizer) == weights_sha256(other.verbalizer)
    assert weights_sha256(plain.reconstructor) == weights_sha256(other.reconstructor)


def test_token_advantages_are_added_to_those_of_the_rollout():
    groups = [RolloutGroup(g, [Rollout([g, r, 2], [-1.0] * 3, "x", "stop") for r in range(2)]) for g in range(2)]
    advantage, signal = torch.tensor([[1.0, -1.0], [0.5, -0.5]]), torch.tensor([True, True])
    given = {(1, 0): torch.tensor([0.0, 2.0, 0.0])}
    scored = scored_rollouts(groups, torch.zeros(2, 4), advantage, signal, given)
    assert scored.token_advantage([0, 2]).tolist() == [[1.0] * 3, [0.5, 2.5, 0.5]]
    assert scored_rollouts(groups, torch.zeros(2, 4), advantage, signal).token_advantage([3]).tolist() == [-0.5]


def change(joint: JointTrainer, row: int, texts: list[str], step: int = 0) -> list[dict[str, float]]:
    """How much the log-probability of each claim's tokens rose in one step, by the claim's value."""
    vectors = joint.store.vectors([row], jobs.LAYER)
    engine = joint.engine
    before = [engine.write(vectors[0], sample, 1.0) for sample in range(len(texts))]
    joint.step(step)
    after = [engine.write(vectors[0], sample, 1.0) for sample in range(len(texts))]
    group = RolloutGroup(row, [Rollout([*one.ids, one.stop_id], one.logprobs, one.text, "stop") for one in before])
    said = said_in([group], lambda text: WORLD.parse(text).claims, joint.verbalizer.tokenizer)
    rises = [[b - a for a, b in zip(x.logprobs, y.logprobs, strict=True)] for x, y in zip(before, after, strict=True)]
    return [
        {str(claim.value): sum(rise[i] for i in tokens) for claim, tokens in zip(one.claims, one.tokens, strict=True)}
        for one, rise in zip(said, rises, strict=True)
    ]


@pytest.fixture(scope="module")
def texts(store) -> tuple[RLConfig, int, list[str]]:
    """A training whose first step reads one row that knows two context claims; the row; and two explanations of it."""
    for seed in range(20):
        (row,) = prompt_rows(len(store), 1, seed, 0)
        said = [said_of(store, row, wrong=wrong) for wrong in (False, True)]
        if len(WORLD.parse(said[0]).claims) == 2 and store.row(row).pos > 60:
            return ALONE.model_copy(update={"seed": seed}), row, said
    raise AssertionError("no such row")


def test_truth_credit_takes_probability_from_a_false_claims_own_tokens(folder, store, knowledge, texts):
    alone, row, said = texts
    config = alone.model_copy(update={"truth_credit": 20.0})
    rises = change(trainer(folder, store, config, lambda _, sample: said[sample], knowledge), row, said)
    claims = [WORLD.parse(text).claims for text in said]
    (false,) = {c.value for c in claims[1]} - {c.value for c in claims[0]}
    (true,) = {c.value for c in claims[0]} - {c.value for c in claims[1]}
    assert rises[1][false] < min(0, rises[0][true])  # the words that both clauses share lose too


def test_truth_reward_prefers_the_explanation_without_the_false_claim(folder, store, knowledge, texts):
    alone, row, said = texts

    def gap(truth: float) -> float:
        config = alone.model_copy(update={"truth_reward": truth, "reconstructor_weight": 0.0})
        rises = change(trainer(folder, store, config, lambda _, sample: said[sample], knowledge), row, said)
        return sum(rises[0].values()) - sum(rises[1].values())

    assert gap(20.0) > 0
    metrics = trainer(
        folder, store, alone.model_copy(update={"truth_reward": 1.0}), lambda _, sample: said[sample], knowledge
    ).step(0)
    assert metrics["claim_worth"] == pytest.approx((1 + 1 + 1 - 1) / 4)


def test_claim_credit_moves_probability_from_idle_claims_to_those_that_the_reconstructor_needs(folder, store, texts):
    alone, row, said = texts
    config = alone.model_copy(update={"claim_credit": 300.0, "reconstructor_weight": 0.0})
    joint = trainer(folder, store, config, lambda _, sample: said[sample], Knowledge(WORLD))
    group = RolloutGroup(row, [Rollout([1], [-1.0], text, "stop") for text in said])
    found = said_in([group], lambda text: WORLD.parse(text).claims, joint.verbalizer.tokenizer)
    direction = Direction().of([row], store.vectors([row], jobs.LAYER))
    worth = leverages(found, joint.reconstructor.reconstruct, direction)
    best = max(range(2), key=lambda i: max(worth[i]) - min(worth[i]))
    values = [str(claim.value) for claim in found[best].claims]
    rises = change(joint, row, said)[best]
    needed, idle = (values[worth[best].index(pick(worth[best]))] for pick in (max, min))
    assert rises[needed] > rises[idle]


def test_contrast_adds_its_gain_to_the_reward_and_counts_rows_without_others(folder, store, texts):
    alone, _, said = texts
    plain, contrasted = (
        trainer(folder, store, alone.model_copy(update={"contrast": weight}), lambda _, sample: said[sample]).step(0)
        for weight in (0.0, 0.5)
    )
    assert contrasted["reward"] == pytest.approx(plain["reward"] + 0.5 * contrasted["gain"], abs=1e-5)
    assert contrasted["rows_without_others"] == 0
    assert "gain" not in plain


def test_a_paraphrased_rollout_earns_the_mean_of_both_readings(folder, store, knowledge, texts):
    alone, row, said = texts
    config = alone.model_copy(update={"paraphrase": 1.0})
    joint = trainer(folder, store, config, lambda _, sample: said[sample], knowledge)
    group = RolloutGroup(row, [Rollout([1], [-1.0], text, "stop") for text in said])
    reads, counts = joint.extras.reads([group], 0)
    assert counts == {"paraphrased": 2, "unparaphrased": 0}
    assert [read.share for read in reads] == [0.5] * 4
    assert reads[0].text == said[0] != reads[1].text
    assert (reads, counts) == joint.extras.reads([group], 0)
    assert reads != joint.extras.reads([group], 1)[0]
    direction = Direction().of([row], store.vectors([row], jobs.LAYER))
    expected = direction(joint.reconstructor.reconstruct([read.text for read in reads]), [0] * 4).mean()
    metrics = joint.step(0)
    assert metrics["direction_mse"] == pytest.approx(float(expected), abs=1e-5)
    assert metrics["ar_rows"] == 4


@pytest.mark.parametrize("space", ["whitened", "residual", "downstream"])
def test_another_space_makes_the_reward_and_pulls_the_reconstructor(folder, store, knowledge, texts, space):
    alone, _, said = texts
    config = alone.model_copy(update={"space": space})
    joint = trainer(folder, store, config, lambda _, sample: said[sample], knowledge)
    errors = [joint.step(0) for _ in range(6)]
    assert errors[0]["reward"] == pytest.approx(-errors[0]["error"], abs=1e-5)
    assert errors[0]["error"] != pytest.approx(errors[0]["direction_mse"], rel=1e-2)
    assert errors[-1]["error"] < errors[0]["error"]


def test_an_option_without_what_it_needs_says_so(folder, store):
    for change, words in (
        ({"truth_reward": 0.1}, "need a language that decides what is true"),
        ({"paraphrase": 0.5}, "rl.paraphrase needs a language"),
        ({"space": "downstream"}, "needs the target"),
    ):
        with pytest.raises(UsageError, match=words):
            trainer(folder, store, jobs.RL.model_copy(update=change), None)


def test_claim_credit_needs_no_language(folder, store):
    free = lambda _, sample: ("A fox sat. It was cold.", "Snow fell. Nobody came; it was late.")[sample]
    metrics = trainer(folder, store, ALONE.model_copy(update={"claim_credit": 1.0}), free).step(0)
    assert metrics["claims"] == 5
    assert metrics["unplaced_claims"] == 0


# resuming, and the adapters of a warm start

EVERYTHING = {
    "paraphrase": 0.5, "claim_credit": 1.0, "truth_reward": 0.1, "truth_credit": 0.1, "contrast": 0.2, "epochs": 2,
}  # fmt: skip


@pytest.mark.parametrize("space", ["whitened", "downstream"])
def test_every_option_resumes_bit_for_bit(folder, store, knowledge, target, tmp_path, space):
    config = jobs.RL.model_copy(update={**EVERYTHING, "space": space, "steps": 3, "evaluate_every": 3})

    class Stopping(Scripted):
        """Samples for some steps, then is interrupted."""

        steps = 0

        def generate(self, *given, **options):
            if not self.steps:
                raise KeyboardInterrupt
            self.steps -= 1
            return super().generate(*given, **options)

    def run(out: Path, steps: int = 3) -> None:
        verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
        script = Stopping(verbalizer, store, lambda row, sample: said_of(store, row, wrong=bool((row + sample) % 2)))
        script.steps = steps
        train_rl(
            config, verbalizer, reconstructor, jobs.LAYER, store, lambda *_: {"score": 0.0}, out,
            made_by="rl", engine=script, knowledge=knowledge,
        )  # fmt: skip

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", steps=2)
    run(tmp_path / "broken")
    whole, broken = (
        {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for out in (tmp_path / "whole", tmp_path / "broken")
    )
    assert whole == broken
    assert ("whitening.safetensors" in whole) is (space == "whitened")


def test_joint_training_goes_on_with_a_warm_starts_adapters_and_leaves_adapters(folder, store, tmp_path, monkeypatch):
    config = jobs.SFT.model_copy(update={"steps": 3, "adapter": jobs.ADAPTER})
    jobs.sft(folder, tmp_path / "sft", config)
    kept: list[Verbalizer] = []
    keep = lambda role: kept.append(reference_copy(role)) or kept[-1]
    monkeypatch.setattr("legible.train.rl.reference_copy", keep)
    warm, found = (load_checkpoint(tmp_path / "sft") for _ in range(2))
    verbalizer, reconstructor = pair_of(found)
    names = {name for name, p in verbalizer.named_parameters() if p.requires_grad}
    assert names
    assert all("lora_" in name or name.endswith("delta") for name in names)
    script = Scripted(verbalizer, store, lambda row, sample: said_of(store, row, wrong=bool((row + sample) % 2)))
    rising = count()
    given = (jobs.RL, verbalizer, reconstructor, jobs.LAYER, store, lambda *_: {"score": float(next(rising))})
    train_rl(*given, tmp_path / "rl", made_by="rl", engine=script)
    vectors, ids = store.vectors([0, 1], jobs.LAYER), torch.tensor([[300, 2], [301, 2]])
    roles = (warm.verbalizer, *kept, verbalizer)
    said = [role.logprobs(vectors, ids, torch.ones_like(ids)).detach() for role in roles]
    assert len(said) == 3
    assert torch.equal(said[0], said[1])  # the reference of the KL is the frozen warm start
    assert not torch.equal(said[1], said[2])
    assert sorted(path.name for path in (tmp_path / "rl").rglob("*.safetensors") if path.parent.name == "av") == [
        "adapter_model.safetensors"
    ]
