"""Where models lie and in which numbers: what is chosen, what it changes, and what it must not change."""

import json
from importlib.util import find_spec

import pytest
import torch
import train_jobs as jobs
from families import CONFIGS, tiny
from safetensors.torch import load_file, save_file

from legible.config import AdapterConfig, CaptureConfig, Placement, RunConfig, validated
from legible.data.capture import store_header
from legible.errors import ConfigError, UsageError
from legible.injection import Injection
from legible.models.lora import merged_copy
from legible.models.placement import device_of, dtype_of, precision_of, precision_part, trainable_copy
from legible.models.roles import shared_roles, trainable_parameters
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.reading.opening import load_checkpoint
from legible.reading.reader import load
from legible.recipes import resolve
from legible.recipes.stages.training import SFT
from legible.train.sft import train_sft

TEXT = "Pavel kept a hammer in the pocket."
HALVES = ("bfloat16", "float16")
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def at(dtype: str, quantize: str = "none") -> Placement:
    return Placement(device="cpu", dtype=dtype, quantize=quantize)


def test_auto_is_the_processor_in_float32_where_there_is_no_card(monkeypatch, folder):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device = device_of(Placement())
    assert device == torch.device("cpu")
    assert dtype_of(Placement(), device, str(folder / "target")) == torch.float32


@pytest.mark.parametrize(
    ("stored", "taken"), [("float32", torch.float32), ("float16", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_auto_on_a_card_keeps_bfloat16_and_reads_all_else_in_float32(monkeypatch, folder, tmp_path, stored, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    config = json.loads((folder / "target" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": stored}))
    device = device_of(Placement())
    assert device == torch.device("cuda:0")
    assert dtype_of(Placement(), device, str(tmp_path)) == taken


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_there_is_named(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"--device {device}: torch .* finds"):
        device_of(Placement(device=device))


def test_an_unknown_device_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"device = 'gpu': .*expected auto, cpu, cuda, cuda:N or mps"):
        validated(Placement, {"device": "gpu"})


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_every_family_reads_in_sixteen_bits_what_it_reads_in_float32(tmp_path, family, dtype):
    target = tiny(family)
    target.model.save_pretrained(tmp_path)
    target.tokenizer.save_pretrained(tmp_path)
    half = Target.load(str(tmp_path), place=at(dtype))
    assert half.precision == dtype
    half.self_check(1)
    ids = torch.tensor([[0, 9, 14, 23, 5]])
    there, here = (one.streams(ids, torch.ones_like(ids), (1,))[1] for one in (half, target))
    assert there.dtype == torch.float32
    assert float((there - here).norm() / here.norm()) < 0.05


@pytest.mark.parametrize("dtype", HALVES)
def test_a_pair_in_sixteen_bits_reads_with_the_same_scores(dtype):
    plain, half = (load("builtin", device="cpu", dtype=name).read(TEXT, positions="4,8") for name in ("float32", dtype))
    assert [one.direction_mse for one in half] == pytest.approx([one.direction_mse for one in plain], abs=0.02)


def test_a_target_in_fewer_bits_has_the_checksum_of_its_weights_on_disk(folder):
    name = str(folder / "target")
    half = Target.load(name, place=at("bfloat16"))
    half.name = "called otherwise"
    assert half.sha256() == Target.load(name).sha256()


def test_a_checksum_that_the_files_cannot_give_is_an_error(folder, tmp_path):
    for file in (folder / "target").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    target = Target.load(str(tmp_path), place=at("bfloat16"))
    weights = load_file(tmp_path / "model.safetensors")
    save_file({f"other.{key}": value for key, value in weights.items()}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="Choose --dtype float32"):
        target.sha256()


def test_a_calibrator_does_not_speak_in_another_precision():
    found = load_checkpoint("builtin", place=at("float16"))  # the weights are stored so: not one bit is lost
    assert "in another precision" in found.calibrator.refusal
    assert found.calibrator.refusal.endswith("legible calibrate CHECKPOINT --device cpu --dtype float16")
    assert load_checkpoint("builtin", place=at("float32")).calibrator.refusal is None


def test_the_default_is_no_part_of_an_identity_and_fewer_bits_are(folder, store):
    plain, half = (Target.load(str(folder / "target"), place=at(name)) for name in ("float32", "bfloat16"))
    assert precision_part(plain.model) == {}
    assert "precision" not in store_header(plain, CaptureConfig(layers=(jobs.LAYER,))).origin
    assert store_header(half, CaptureConfig(layers=(jobs.LAYER,))).origin["precision"] == "bfloat16"
    stages = [SFT.alone(one, jobs.LAYER, store, folder / "teach.jsonl", jobs.SFT) for one in (plain, half)]
    assert "precision" not in stages[0].identity().plain
    assert stages[1].identity().plain["precision"] == "bfloat16"


def test_a_run_is_named_by_its_precision_and_not_by_its_device():
    plain = resolve("tiny")
    assert "placement" not in plain.model_dump()
    assert "placement" not in plain.deciding()
    moved, half = (resolve("tiny", settings=[f"placement.{setting}"]) for setting in ("device=cpu", "dtype=bfloat16"))
    assert moved.deciding() == plain.deciding()
    assert half.deciding() == {**plain.deciding(), "placement": {"dtype": "bfloat16"}}
    assert RunConfig.model_validate(half.model_dump()) == half


def test_what_trains_is_float32_over_a_base_in_sixteen_bits(folder):
    target = Target.load(str(folder / "target"), place=at("bfloat16"))
    whole = Verbalizer.from_target(target, Injection())
    assert {p.dtype for p in whole.parameters()} == {torch.float32}
    for role in shared_roles(target, jobs.LAYER, Injection(), AdapterConfig(rank=2, dora=True), seed=0):
        assert {p.dtype for p in trainable_parameters(role).values()} == {torch.float32}
        assert precision_of(role) == "bfloat16"


def test_roles_that_are_to_be_trained_are_loaded_in_float32():
    found = load_checkpoint("builtin", place=at("bfloat16"), train=True)
    assert precision_of(found.target.model) == "bfloat16"
    assert precision_of(found.verbalizer) == precision_of(found.reconstructor) == "float32"


def test_quantizing_without_its_library_names_the_extra(folder, monkeypatch):
    monkeypatch.setattr("legible.models.placement.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--quantize 4bit needs bitsandbytes.*\n.*legible-nla\[quantize\]"):
        Target.load(str(folder / "target"), place=at("auto", "4bit"))


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantized_pair_reads_trains_adapters_and_says_what_it_cannot(bits):
    found = load_checkpoint("builtin", place=at("float32", bits))
    target = found.target
    assert target.precision == f"{bits}/float32"
    assert target.sha256() == load_checkpoint("builtin", place=at("float32")).target.sha256()
    verbalizer, reconstructor = shared_roles(target, found.layer, Injection(), AdapterConfig(rank=2), seed=0)
    vectors = torch.randn(2, target.d_model, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    before = target.logits(ids, torch.ones_like(ids))
    verbalizer(vectors, ids, torch.ones_like(ids)).sum().backward()
    assert all(p.grad is not None for p in trainable_parameters(verbalizer).values())
    assert torch.equal(target.logits(ids, torch.ones_like(ids)), before)
    assert torch.isfinite(reconstructor.reconstruct(["Pavel keeps a hammer."])).all()
    with pytest.raises(UsageError, match=f"full fine-tuning was asked for, but the weights are held in {bits}"):
        trainable_copy(target.model)
    with pytest.raises(UsageError, match="Load it without --quantize"):
        merged_copy(verbalizer.model, torch.float32)


def test_the_command_line_reads_in_another_precision_and_records_it(legible, tmp_path):
    report = tmp_path / "reading.html"
    found = legible(
        "read", "builtin", TEXT, "--positions", "-1", "--dtype", "bfloat16", "--html", str(report), "--json"
    )
    assert found.code == 0
    assert json.loads(found.out)["direction_mse"] is not None
    assert "bfloat16" in report.read_text(encoding="utf-8")
    wrong = legible("read", "builtin", TEXT, "--device", "cuda:9")
    assert wrong.code == 2
    assert "--device cuda:9" in wrong.err


def test_a_scan_records_where_it_ran_only_if_that_was_chosen(legible):
    given = ("scan", "builtin", "--layers", "1", "--documents", "6", "--threads", "1", "--json")
    plain, half = (json.loads(legible(*given, *more).out) for more in ((), ("--dtype", "bfloat16")))
    assert "placement" not in plain
    assert half["placement"] == {"device": "cpu", "precision": "bfloat16"}


@needs_bitsandbytes
def test_a_warm_start_over_quantized_weights_is_refused_before_it_begins(folder, store, tmp_path):
    target = Target.load(str(folder / "target"), place=at("float32", "8bit"))
    adapted = jobs.SFT.model_copy(update={"adapter": AdapterConfig(rank=2)})
    with pytest.raises(UsageError, match="a training was asked for, but the weights are held in 8bit"):
        train_sft(adapted, target, jobs.LAYER, store, folder / "teach.jsonl", tmp_path / "sft", made_by="test")
    assert not (tmp_path / "sft").exists()
