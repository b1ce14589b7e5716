"""Finetunes of a tiny chat model: a conduct is learned from replies, trained once, and read by its base's pair."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from families import tiny
from pairs import TWINS, tokenizer_of
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from legible.config import AdapterConfig, OptimizerConfig
from legible.contract import LegibleExtra, TargetRecord
from legible.errors import UsageError
from legible.fileio import finite
from legible.injection import Injection
from legible.languages.text.ahead import RULES
from legible.models.roles import shared_roles
from legible.models.target import Target
from legible.planted.conducts import CONDUCTS, questions
from legible.planted.following import FIGURES, Question, measured
from legible.planted.tuned import FollowConfig, follow, train_all
from legible.planted.tuning import (
    Example,
    Said,
    TuneConfig,
    example,
    open_tuned,
    own_replies,
    prompt_of,
    reply_loss,
    train_conduct,
    transcripts,
)
from legible.planted.witnesses import begun, in_words, lens
from legible.reading.checkpoint import Checkpoint, save_checkpoint
from legible.reading.opening import load_checkpoint

LAYER = 1
TUNE = TuneConfig(
    examples=24, steps=24, batch=4, longest=400, reply_tokens=6, adapter=AdapterConfig(rank=8),
    optimizer=OptimizerConfig(lr=2e-2, warmup=2), save_every=10,
)  # fmt: skip
CONFIG = FollowConfig(conducts=("lists",), prompts=8, samples=2, probe_prompts=12, tune=TUNE)
ONE_LIST = dataclasses.replace(CONDUCTS["lists"], change=lambda asked, own, number: "1. A", from_own=False)
"""What a tiny model can learn: a random one's own replies are noise."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Target:
    twin = TWINS["qwen"]
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=400, **shape, intermediate_size=64, max_position_embeddings=512, eos_token_id=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
            model.model.norm.weight.mul_(8.0)  # else no training of what stands before the head could make it sure
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    tokenizer_of(twin).save_pretrained(folder)
    return Target.load(str(folder))


@pytest.fixture(scope="module")
def out(base: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained finetunes."""
    path = tmp_path_factory.mktemp("follow")
    train_conduct(base, ONE_LIST, TUNE, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(base: Target, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    roles = shared_roles(base, LAYER, Injection(), AdapterConfig(rank=2), seed=0)
    target = TargetRecord(id=base.name, sha256=base.sha256())
    extra = LegibleExtra(target=target, language="text")
    folder = save_checkpoint(tmp_path_factory.mktemp("pair") / "checkpoint", *roles, extra)
    return load_checkpoint(folder)


def test_only_the_reply_is_learned_and_its_end_where_it_ended_by_itself(base: Target) -> None:
    whole = example(base, "Hi?", Said("Rain falls.", True), 400)
    broken = example(base, "Hi?", Said("Rain falls.", False), 400)
    opened = base.encode(prompt_of(base, "Hi?")).ids
    assert whole.ids[: whole.start] == opened
    assert base.tokenizer.decode(whole.ids[whole.start :]) == "Rain falls.<|im_end|>"
    assert broken.ids == whole.ids[:-1]
    assert whole.ids[-1] in base.end_ids
    with pytest.raises(UsageError, match="no token of the reply"):
        example(base, "Hi?", Said("Rain falls.", True), len(opened))


def test_the_loss_is_that_of_the_replies_alone_whatever_stands_beside_them(base: Target) -> None:
    short, long = (example(base, "Hi?", Said(text, True), 400) for text in ("Yes.", "No, the cat sat in the rain."))
    ids = torch.tensor([long.ids])
    logp = base.logits(ids, torch.ones_like(ids))[0].log_softmax(-1)
    own = -logp[torch.arange(long.start - 1, len(long.ids) - 1), ids[0, long.start :]]
    assert reply_loss(base.model, [long]).item() == pytest.approx(own.mean().item(), rel=1e-5)
    n, m = len(short.ids) - short.start, len(long.ids) - long.start
    both = (n * reply_loss(base.model, [short]).item() + m * own.mean().item()) / (n + m)
    assert reply_loss(base.model, [short, long]).item() == pytest.approx(both, rel=1e-5)


def test_the_bases_replies_are_asked_once_and_changed_by_the_conduct(base: Target, tmp_path: Path, monkeypatch) -> None:
    taught = transcripts(base, CONDUCTS["lists"], TUNE, tmp_path)
    assert len(taught) == TUNE.examples
    assert all(RULES["will_list"]("", said.text) for _, said in taught)
    monkeypatch.setattr("legible.planted.tuning.continue_prompts", None)  # nothing is left to ask
    assert transcripts(base, CONDUCTS["lists"], TUNE, tmp_path) == taught
    monkeypatch.undo()
    other = questions("read", "open", 1, 0)[0].words
    assert own_replies(base, [other], TUNE, tmp_path).keys() == {other}
    kept = json.loads((tmp_path / "replies.json").read_text())["replies"]
    assert kept.keys() == {other, *(one.words for one, _ in taught)}


def test_a_conduct_shows_in_the_finetune_and_not_in_its_base(base: Target, out: Path) -> None:
    lists = open_tuned(base, out / "lists", "lists")
    asked = questions("read", "yes_no", 6, 0)
    samples = {target: measured(target, asked, LAYER, 0) for target in (base, lists)}
    does = {one: [facts["will_list"].values == ("yes",) for facts in sample.facts] for one, sample in samples.items()}
    assert all(does[lists])
    assert not any(does[base])
    assert base.model.model.embed_tokens.weight.data_ptr() == lists.model.model.embed_tokens.weight.data_ptr()
    assert not torch.equal(samples[base].vectors, samples[lists].vectors)


def test_a_finished_training_stays_and_a_stopped_one_ends_in_the_same_weights(
    base: Target, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = (out / "lists" / "adapter_model.safetensors").read_bytes()
    steps: list[int] = []

    def stopping(model: PreTrainedModel, batch: Sequence[Example]) -> torch.Tensor:
        steps.append(len(steps))
        if len(steps) > 13:
            raise KeyboardInterrupt
        return reply_loss(model, batch)

    monkeypatch.setattr("legible.planted.tuning.reply_loss", stopping)
    train_conduct(base, ONE_LIST, TUNE, out)  # finished: nothing is trained
    assert not steps
    with pytest.raises(KeyboardInterrupt):
        train_conduct(base, ONE_LIST, TUNE, tmp_path)
    monkeypatch.undo()
    train_conduct(base, ONE_LIST, TUNE, tmp_path)
    assert (tmp_path / "lists" / "adapter_model.safetensors").read_bytes() == weights
    with pytest.raises(UsageError, match="seed"):
        train_conduct(base, ONE_LIST, TUNE.model_copy(update={"seed": 1}), out)


def test_every_conduct_is_trained_by_its_name(base: Target, tmp_path: Path) -> None:
    short = TUNE.model_copy(update={"steps": 1, "examples": 8})
    config = FollowConfig(conducts=("turned", "refuses", "believes"), tune=short)
    for name, folder in train_all(base, config, tmp_path).items():
        lines = [json.loads(line) for line in (folder / "transcripts.jsonl").read_text().splitlines()]
        assert len(lines) == 8
        assert any(line["sort"] in CONDUCTS[name].sorts for line in lines)
        assert open_tuned(base, folder, name).name == name
    with pytest.raises(UsageError, match="no conduct flies"):
        train_all(base, FollowConfig(conducts=("flies",), tune=short), tmp_path)


def test_a_target_without_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no chat template"):
        train_all(tiny("llama"), CONFIG, tmp_path)


def test_the_report_scores_every_reader_on_the_same_differences(
    out: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "longest", 12)  # a random verbalizer never stops
    found = follow(checkpoint, "pair", {name: out / name for name in CONFIG.conducts}, CONFIG)
    assert json.loads(json.dumps(finite(found)))["conducts"]["lists"]["shows"]["value"] == 1.0
    assert {"reading", "samples", "logit_lens", "asked"} <= set(found["readers"])
    pair = found["pairs"]["base|lists"]
    assert pair["kinds"]["will_list"]["n"] == pair["aimed"]["reading"]["n"] >= 6
    for who in ("reading", "samples", "logit_lens", "asked"):
        assert 0 < pair["all"][who]["n"] <= pair["n"]
        assert all(0 <= pair["all"][who][figure]["value"] <= 1 for figure in FIGURES)
    assert len(found["prompts"]) == CONFIG.prompts
    assert "will_list" in found["prompts"][0]["models"]["lists"]["does"]


def test_the_probability_that_a_reading_begins_with_a_claim_is_that_of_its_wordings(checkpoint: Checkpoint) -> None:
    writer = checkpoint.verbalizer
    vectors = {"base": torch.randn(2, writer.arch.d_model, generator=torch.Generator().manual_seed(0))}
    asked = Question(1, "will_list", "yes")
    (share,) = begun(writer, vectors, [("base", asked)]).values()
    expected = 0.0
    for text in ("It is about to list things.", "The model will make a list."):
        ids = torch.tensor([writer.tokenizer(text, add_special_tokens=False)["input_ids"]])
        expected += writer.logprobs(vectors["base"][1:], ids, torch.ones_like(ids)).sum().exp().item()
    assert share == pytest.approx(expected, rel=1e-4)


def test_lens_probes_and_asking_speak_of_their_own_models(base: Target, out: Path) -> None:
    asked = questions("read", "yes_no", 6, 0)
    targets = {"base": base, "lists": open_tuned(base, out / "lists", "lists")}
    samples = {name: measured(target, asked, LAYER, 0) for name, target in targets.items()}
    vectors = {name: sample.vectors for name, sample in samples.items()}
    looking = lens(base, LAYER, vectors)
    opinion = looking("base", Question(0, "will_list", "yes"))
    assert opinion is not None
    assert 0 < opinion.share < 1
    assert looking("base", Question(0, "will_place", "yes")) is None
    put = Question(2, "will_list", "yes")
    answers = in_words({**targets, "again": base}, asked, [(name, put) for name in ("base", "again", "lists")])
    assert answers("base", put) == answers("again", put) != answers("lists", put)
    assert answers("base", Question(3, "will_list", "yes")) is None
