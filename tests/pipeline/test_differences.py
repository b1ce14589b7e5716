"""A checkpoint of differences: PEFT reads it, loading shares the target's weights, and it computes what was trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from families import WIDTH, tiny, words
from peft import PeftModel
from safetensors.torch import load_file, save_file
from test_roles import ADAPTERS, IDS, MASK, train, unseen_stop

from legible.contract import LegibleExtra, TargetRecord, check_contract
from legible.engines.local import LocalEngine
from legible.errors import ContractError, UsageError
from legible.injection import Injection
from legible.models import Reconstructor, Target, Verbalizer
from legible.models.differences import OWN
from legible.models.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, StopRowHead
from legible.models.roles import shared_roles, trainable_parameters
from legible.reading.checkpoint import save_checkpoint
from legible.reading.opening import load_checkpoint

VECTORS = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))


def trained(target: Target, adapter: str = "lora") -> tuple[Verbalizer, Reconstructor]:
    roles = shared_roles(target, 1, Injection(), ADAPTERS[adapter], seed=0)
    train(*roles, VECTORS)
    return roles


def saved(folder: Path, target: Target, adapter: str = "lora") -> tuple[Verbalizer, Reconstructor]:
    roles = trained(target, adapter)
    for name, role in zip(("av", "ar"), roles, strict=True):
        role.save(folder / name)
    return roles


def loaded(folder: Path, target: Target, like: tuple[Verbalizer, Reconstructor]) -> tuple[Verbalizer, Reconstructor]:
    verbalizer = Verbalizer.load(folder / "av", like[0].prompt, like[0].injection, target=target)
    return verbalizer, Reconstructor.load(folder / "ar", like[1].prompt, target=target, layer=1)


@pytest.mark.parametrize("family", ["llama", "qwen3", "qwen3_moe", "gemma3_text", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_loaded_roles_compute_what_was_saved_over_the_targets_own_storage(family, adapter, tmp_path):
    target = tiny(family)
    sha, before = target.sha256(), target.logits(IDS, MASK)
    roles = saved(tmp_path, target, adapter)
    again = loaded(tmp_path, target, roles)
    for old, new in zip(roles, again, strict=True):
        assert torch.equal(old(*((VECTORS, IDS, MASK) if old is roles[0] else (IDS, MASK))), new(
            *((VECTORS, IDS, MASK) if old is roles[0] else (IDS, MASK))
        ))  # fmt: skip
        assert set(trainable_parameters(new)) == {n.replace(".av.", ".default.").replace(".ar.", ".default.")
                                                  for n in trainable_parameters(old)}  # fmt: skip
    owned = {p.data_ptr() for p in target.model.parameters()}
    for role in again:
        assert {p.data_ptr() for p in role.parameters() if not p.requires_grad} <= owned
        own = sum(p.numel() for p in role.parameters() if p.data_ptr() not in owned)
        assert own == sum(p.numel() for p in trainable_parameters(role).values())
    assert torch.equal(target.logits(IDS, MASK), before)
    target._sha256 = None
    assert target.sha256() == sha


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
@pytest.mark.parametrize("unseen", [False, True])
def test_peft_itself_reads_both_folders_on_the_unmodified_target(adapter, unseen, tmp_path):
    target = unseen_stop("llama") if unseen else tiny("llama")
    verbalizer, reconstructor = saved(tmp_path, target, adapter)
    assert isinstance(verbalizer.model.get_output_embeddings(), StopRowHead) is unseen
    for role, model in (("av", verbalizer.model), ("ar", None)):
        base = unseen_stop("llama").model if unseen else tiny("llama").model
        theirs = PeftModel.from_pretrained(base, str(tmp_path / role)).eval()  # it warns of weights it cannot place
        config = json.loads((tmp_path / role / ADAPTER_CONFIG).read_text())
        assert (config["peft_type"], config["base_model_name_or_path"]) == ("LORA", "llama")
        with torch.no_grad():
            if model is not None:
                found, ours = theirs(input_ids=IDS).logits, model(input_ids=IDS).logits
            else:
                found = theirs(input_ids=IDS, output_hidden_states=True).hidden_states[2]
                ours = reconstructor.arch.stream(reconstructor.arch.embed(IDS), MASK)
        torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen3"])  # qwen3 here ties its head to its embedding
def test_a_trained_stop_row_comes_back_as_the_row_that_trains(family, tmp_path):
    target = unseen_stop(family)
    roles = saved(tmp_path, target)
    verbalizer, _ = loaded(tmp_path, target, roles)
    head = verbalizer.model.get_output_embeddings()
    assert isinstance(head, StopRowHead)
    assert torch.equal(head.delta, roles[0].model.get_output_embeddings().delta)
    assert torch.equal(verbalizer(VECTORS, IDS, MASK), roles[0](VECTORS, IDS, MASK))
    assert head.head.weight.data_ptr() == target.model.get_output_embeddings().weight.data_ptr()


def checkpoint(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Path, tuple[Verbalizer, Reconstructor]]:
    target = tiny("llama")
    target.name = str(folder / "base")
    target.model.save_pretrained(folder / "base")
    words().save_pretrained(folder / "base")
    roles = trained(target)
    extra = LegibleExtra(target=TargetRecord(id=str(folder / "base"), sha256=target.sha256()))
    return save_checkpoint(folder / "checkpoint", *roles, extra, dtype=dtype), roles


def test_a_checkpoint_of_differences_reads_as_the_pair_that_was_saved(tmp_path):
    path, (verbalizer, reconstructor) = checkpoint(tmp_path)
    assert not list(path.glob("a[vr]/model.safetensors"))
    assert check_contract(path) == []
    found = load_checkpoint(path)
    ours, theirs = (LocalEngine(v).generate(VECTORS, max_tokens=8) for v in (verbalizer, found.verbalizer))
    assert ours == theirs
    texts = ["w10 w11", "w20"]
    assert torch.equal(found.reconstructor.reconstruct(texts), reconstructor.reconstruct(texts))
    owned = {p.data_ptr() for p in found.target.model.parameters()}
    assert {p.data_ptr() for p in found.reconstructor.backbone.parameters() if not p.requires_grad} <= owned
    again = save_checkpoint(tmp_path / "again", found.verbalizer, found.reconstructor, found.contract.legible)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):  # nothing is lost by reading and writing
        assert (again / "av" / name).read_bytes() == (path / "av" / name).read_bytes()


def test_half_precision_differences_are_read(tmp_path):
    path, (verbalizer, _) = checkpoint(tmp_path, torch.float16)
    assert {t.dtype for t in load_file(path / "av" / ADAPTER_WEIGHTS).values()} == {torch.float16}
    found = load_checkpoint(path).verbalizer
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    torch.testing.assert_close(found(VECTORS, IDS, MASK), verbalizer(VECTORS, IDS, MASK), rtol=1e-2, atol=1e-2)


def renamed(file: Path, old: str, new: str) -> None:
    weights = load_file(file)
    save_file({name.replace(old, new): tensor for name, tensor in weights.items()}, file)


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda av: renamed(av / ADAPTER_WEIGHTS, "layers.2", "layers.7"), ContractError, "in none of the blocks"),
        (lambda av: renamed(av / ADAPTER_WEIGHTS, "q_proj", "z_proj"), ContractError, "does not fit the target"),
        (lambda av: (av / ADAPTER_WEIGHTS).write_bytes(b"no"), UsageError, "damaged"),
        (lambda av: (av / ADAPTER_WEIGHTS).unlink(), UsageError, "no adapter_model.safetensors"),
        (lambda av: (av / ADAPTER_CONFIG).write_text('{"peft_type": "IA3"}'), UsageError, "expected LORA"),
        (lambda av: (av / ADAPTER_CONFIG).write_text("{"), UsageError, "cannot be used"),
        (lambda av: save_file({"model.zzz.weight": torch.ones(2)}, av / OWN), ContractError, "no counterpart"),
        (lambda av: save_file({"model.norm.weight": torch.ones(2)}, av / OWN), ContractError, r"has shape \(2,\)"),
    ],
)
def test_differences_that_do_not_fit_are_named(spoil, error, match, tmp_path):
    path, _ = checkpoint(tmp_path)
    spoil(path / "av")
    with pytest.raises(error, match=match) as found:
        load_checkpoint(path)
    assert found.type is error


def test_differences_alone_ask_for_their_target(tmp_path):
    roles = saved(tmp_path, tiny("llama"))
    with pytest.raises(UsageError, match="no target was given"):
        Verbalizer.load(tmp_path / "av", roles[0].prompt, roles[0].injection)
    with pytest.raises(UsageError, match="no target was given"):
        Reconstructor.load(tmp_path / "ar", roles[1].prompt)


def test_a_checkpoint_beside_another_base_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path)
    shutil.rmtree(tmp_path / "base")
    other = unseen_stop("llama")
    other.model.save_pretrained(tmp_path / "base")
    words().save_pretrained(tmp_path / "base")
    with pytest.raises(ContractError, match="are not those that"):
        load_checkpoint(path)
