"""A pair in another form writes and reconstructs what it did, or says what the form cost; misfits are refused."""

import json
import shutil
from pathlib import Path

import easynla
import pytest
import torch
import train_jobs as jobs
from families import WIDTH, tiny, words
from safetensors.torch import load_file, save_file
from test_roles import unseen_stop
from test_small_reader import checkpoint, shaken

from legible.contract import check_contract, read_contract
from legible.engines.local import LocalEngine
from legible.errors import ContractError, UsageError
from legible.injection import Injection
from legible.models import Reconstructor, Target, Verbalizer
from legible.models.differences import OWN
from legible.models.lora import LowRankHead, StopRowHead, merged_copy
from legible.models.low_rank import low_rank
from legible.models.roles import Shape, new_reconstructor, new_verbalizer, trainable_parameters
from legible.reading.checkpoint import Checkpoint
from legible.reading.locate import locate
from legible.reading.opening import load_checkpoint
from legible.recipes.adapters import AdapterFolders, import_adapters
from legible.recipes.export import export_checkpoint, summary_lines

IDS = torch.tensor([[9, 5, 1], [7, 20, 1]])
MASK = torch.ones_like(IDS)
VECTORS = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(0))
TEXTS = ["w10", "w11 w12 w13", "w20 w3 w5 w30 w31"]
SHAPES = {
    "whole": Shape(),
    "adapted": Shape(adapter=jobs.ADAPTER),
    "small": Shape(blocks=(0, 2), output_ids=(1, 5, 7, 9, 11, 20, 30), affine=True),
}


def same(old: Checkpoint, new: Checkpoint) -> None:
    """Both write the same words of the same vectors, with the same probabilities, and reconstruct the same."""
    ours, theirs = (LocalEngine(each.verbalizer).generate(VECTORS, max_tokens=10) for each in (old, new))
    assert [group[0].ids for group in ours] == [group[0].ids for group in theirs]
    for (mine,), (other,) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(torch.tensor(mine.logprobs), torch.tensor(other.logprobs), rtol=1e-4, atol=1e-4)
    back = [each.reconstructor.reconstruct(TEXTS) for each in (old, new)]
    torch.testing.assert_close(back[0], back[1], rtol=1e-3, atol=1e-4)


def pair_at(folder: Path, shape: Shape, family: str = "llama") -> Path:
    return checkpoint(folder, family, shape=shape, metrics={"fve": 0.5})[0]


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("form", ["merged", "adapters"])
def test_a_pair_in_another_form_computes_the_same(name, form, tmp_path):
    path = pair_at(tmp_path, SHAPES[name])
    cut = {"rank": WIDTH} if form == "adapters" else {}  # the whole rank: nothing is lost
    told = export_checkpoint(str(path), form, tmp_path / "out", **cut)
    assert (told["probes"], told["equal"]) == (12, 12)
    assert told["direction_mse"] < 1e-6
    new = load_checkpoint(tmp_path / "out")
    same(load_checkpoint(path), new)
    assert check_contract(tmp_path / "out") == []
    for role in (new.verbalizer, new.reconstructor):
        assert (role.over is not None) is (form == "adapters")
    assert {f.name for f in (tmp_path / "out" / "av").glob("*.safetensors")} <= (
        {"model.safetensors", "own.safetensors"}
        if form == "merged"
        else {"adapter_model.safetensors", "own.safetensors"}
    )
    if form == "adapters":
        assert told["kept"] == pytest.approx({"av": 1.0, "ar": 1.0}, abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen3", "qwen3_moe", "gemma3_text", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("name", ["whole", "small"])
def test_differences_of_the_whole_rank_lose_nothing_in_any_family(family, name):
    target = tiny(family)
    for role in (new_verbalizer(target, Injection(), SHAPES[name]), new_reconstructor(target, 1, SHAPES[name])):
        shaken(role)
        cut, share = low_rank(role, target, WIDTH * 4)
        given = (VECTORS[:2], IDS, MASK) if isinstance(role, Verbalizer) else (IDS, MASK)
        torch.testing.assert_close(cut(*given), role(*given), rtol=1e-3, atol=1e-3)
        assert share == pytest.approx(1.0, abs=1e-5)


def test_the_share_kept_is_the_squared_singular_values_that_stay():
    target = tiny("llama")
    role = new_reconstructor(target, 1, SHAPES["small"])
    shaken(role)
    trained, kept = dict(role.backbone.named_modules()), [0, 2]
    whole, stays = 0.0, 0.0
    for path, module in target.arch.base.named_modules():
        _, found, rest = path.partition("layers.")
        if found and isinstance(module, torch.nn.Linear) and int(rest[0]) in kept:
            ours = trained[f"layers.{kept.index(int(rest[0]))}{rest[1:]}"]
            values = torch.linalg.svdvals((ours.weight - module.weight).detach()).square()
            whole, stays = whole + float(values.sum()), stays + float(values[:3].sum())
    _, share = low_rank(role, target, 3)
    assert share == pytest.approx(stays / whole, abs=1e-4)
    shares = [low_rank(role, target, rank)[1] for rank in (1, 3, 8, 32)]
    assert shares == sorted(shares)


def test_a_cut_pair_is_smaller_says_what_it_costs_and_keeps_no_figures(tmp_path):
    path = pair_at(tmp_path, SHAPES["small"])
    told = export_checkpoint(str(path), "adapters", tmp_path / "out", rank=2, dtype="float16")
    assert told["bytes"]["av"] < 0.5 * sum(f.stat().st_size for f in (path / "av").glob("*.safetensors"))
    assert all(0.1 < share < 0.9 for share in told["kept"].values())
    assert {t.dtype for t in load_file(tmp_path / "out" / "av" / "adapter_model.safetensors").values()} == {
        torch.float16
    }
    lines = "\n".join(summary_lines(told))
    assert "av: the low rank keeps" in lines
    assert "legible truth measure them" in lines
    assert read_contract(path / "av").legible.metrics == {"fve": 0.5}
    assert read_contract(tmp_path / "out" / "av").legible.metrics == {}


def test_a_cut_head_comes_back_as_the_change_that_was_saved(tmp_path):
    path = pair_at(tmp_path, SHAPES["small"])
    export_checkpoint(str(path), "adapters", tmp_path / "out", rank=2)
    own = load_file(tmp_path / "out" / "av" / OWN)
    assert (own["lm_head.down"].shape, own["lm_head.up"].shape) == ((2, WIDTH), (7, 2))
    found = load_checkpoint(tmp_path / "out")
    assert isinstance(found.verbalizer.model.get_output_embeddings(), LowRankHead)
    assert {"model.lm_head.down", "model.lm_head.up"} <= set(trainable_parameters(found.verbalizer))
    whole = merged_copy(found.verbalizer.model, torch.float32).get_output_embeddings().weight
    logits = found.verbalizer.logits(VECTORS[:2], IDS, MASK)
    found.verbalizer.model.set_output_embeddings(torch.nn.Linear(WIDTH, 7, bias=False))
    found.verbalizer.model.get_output_embeddings().weight = whole
    torch.testing.assert_close(found.verbalizer.logits(VECTORS[:2], IDS, MASK), logits, rtol=1e-4, atol=1e-5)
    for spoilt, match in (
        ({"lm_head.up": own["lm_head.up"][:5].clone()}, "has no change"),
        ({"lm_head.down": None}, "expected down and up"),
    ):
        changed = {name: tensor for name, tensor in (own | spoilt).items() if tensor is not None}
        save_file(changed, tmp_path / "out" / "av" / OWN)
        with pytest.raises(ContractError, match=match):
            load_checkpoint(tmp_path / "out")


def test_a_merged_adapter_is_found_again_by_its_rank(tmp_path):
    path = pair_at(tmp_path, SHAPES["adapted"])
    export_checkpoint(str(path), "merged", tmp_path / "whole")
    told = export_checkpoint(str(tmp_path / "whole"), "adapters", tmp_path / "again", rank=jobs.ADAPTER.rank)
    assert told["kept"] == pytest.approx({"av": 1.0, "ar": 1.0}, abs=1e-5)
    same(load_checkpoint(path), load_checkpoint(tmp_path / "again"))


@pytest.mark.parametrize("family", ["llama", "qwen3"])  # qwen3 here ties its head to its embedding
def test_of_a_merged_stop_row_the_row_alone_is_kept(family, tmp_path):
    target = unseen_stop(family)
    verbalizer = new_verbalizer(target, Injection(), SHAPES["adapted"])
    shaken(verbalizer)
    verbalizer.save(tmp_path / "whole", merged=True)
    whole = Verbalizer.load(tmp_path / "whole", verbalizer.prompt, verbalizer.injection)
    cut, _ = low_rank(whole, target, jobs.ADAPTER.rank)
    assert isinstance(cut.model.get_output_embeddings(), StopRowHead)
    given = (VECTORS[:2], IDS, MASK)
    torch.testing.assert_close(cut(*given), verbalizer(*given), rtol=1e-3, atol=1e-3)
    cut.save(tmp_path / "cut")
    again = Verbalizer.load(tmp_path / "cut", verbalizer.prompt, verbalizer.injection, target=target)
    torch.testing.assert_close(again(*given), cut(*given))
    assert not (tmp_path / "cut" / OWN).exists()


def test_a_model_of_another_shape_is_no_difference(tmp_path):
    role = Verbalizer.from_target(tiny("gpt2"), Injection())
    with pytest.raises(UsageError, match="no difference from it"):
        low_rank(role, tiny("llama"), 4)
    with pytest.raises(UsageError, match="rank is 0"):
        low_rank(role, tiny("gpt2"), 0)


@pytest.mark.parametrize("name", ["whole", "adapted"])
def test_the_released_layout_holds_the_same_pair(name, tmp_path, capsys):
    path = pair_at(tmp_path, SHAPES[name])
    export_checkpoint(str(path), "kitft", tmp_path / "mine")
    assert "other tools cannot place the vector" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["mine-ar", "mine-av", "target"]
    for role in ("av", "ar"):
        contract = read_contract(tmp_path / "mine" / f"mine-{role}")
        assert (contract.role, contract.layer, contract.base_checkpoint) == (role, 1, str(tmp_path / "base"))
        (tmp_path / "mine" / f"mine-{role}").rename(tmp_path / "mine" / role)
    config = json.loads((tmp_path / "mine" / "ar" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert set(load_file(tmp_path / "mine" / "ar" / "value_head.safetensors")) == {"weight"}
    same(load_checkpoint(path), load_checkpoint(tmp_path / "mine"))


def imported(folder: Path, family: str = "llama") -> Path:
    base = easynla.save_base(tiny(family).model, words(), folder / "base")
    easynla.save_verbalizer(base, family, folder / "av")
    easynla.save_reconstructor(base, family, folder / "ar")
    return import_adapters(AdapterFolders([folder / "av"], folder / "ar"), folder / "imported")


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "gpt2", "gpt_neox"])
def test_a_pair_goes_to_easynla_and_comes_back(family, tmp_path):
    path = imported(tmp_path, family)
    told = export_checkpoint(str(path), "easynla", tmp_path / "theirs", rank=4)
    assert (told["probes"], told["equal"]) == (12, 12)
    meta = json.loads((tmp_path / "theirs" / "ar" / "ar_meta.json").read_text())
    assert (meta["ar_num_layers"], meta["lora_r"]) == (easynla.LAYER + 1, 4)
    folders = AdapterFolders([tmp_path / "theirs" / "av"], tmp_path / "theirs" / "ar")
    again = load_checkpoint(import_adapters(folders, tmp_path / "again"))
    same(load_checkpoint(path), again)


def test_an_imported_prompt_survives_a_change_of_form(tmp_path):
    path = imported(tmp_path)
    export_checkpoint(str(path), "adapters", tmp_path / "small", rank=4)
    contract = read_contract(tmp_path / "small" / "av")
    assert contract.tokens.injection_char == easynla.MARKER
    assert contract.prompt_templates.av == easynla.ACTOR
    same(load_checkpoint(path), load_checkpoint(tmp_path / "small"))


@pytest.mark.parametrize(
    ("name", "form", "reason"),
    [
        ("small", "kitft", "a head over some token ids"),
        ("small", "easynla", "some of the target's blocks only"),
        ("whole", "easynla", "a prompt without marker token and template"),
    ],
)
def test_a_form_that_would_be_read_as_something_else_is_refused(name, form, reason, tmp_path):
    path = pair_at(tmp_path, SHAPES[name])
    with pytest.raises(UsageError, match=reason):
        export_checkpoint(str(path), form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_added_vector_is_not_released_as_a_replacing_one(tmp_path):
    with pytest.raises(UsageError, match="added instead of replacing"):
        export_checkpoint(str(imported(tmp_path)), "kitft", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--form", "gguf", "--out", "{tmp}/out"), "no form 'gguf'"),
        (("--form", "merged", "--rank", "4", "--out", "{tmp}/out"), "--rank cuts differences"),
        (("--form", "adapters", "--rank", "0", "--out", "{tmp}/out"), "rank is 0"),
        (("--form", "adapters", "--dtype", "int4", "--out", "{tmp}/out"), "no number format 'int4'"),
        (("--form", "merged", "--out", "{tmp}/checkpoint"), "is there already"),
        (("--form", "merged", "--layer", "1", "--out", "{tmp}/out"), "--layer, --stage and --teach are for parquet"),
        (("--form", "parquet", "--rank", "4", "--out", "{tmp}/out"), "options of another form"),
        (("--form", "merged"), "name the output once"),
        (("--out", "{tmp}/out"), "--form merged, adapters, easynla or kitft"),
    ],
)
def test_what_cannot_be_exported_is_named(arguments, match, tmp_path, legible):
    path = pair_at(tmp_path, SHAPES["whole"])
    done = legible("export", str(path), *(each.format(tmp=tmp_path) for each in arguments))
    assert done.code == 2
    assert match in done.err
    assert not (tmp_path / "out").exists()


def test_the_built_in_pair_keeps_its_calibrator_in_an_exact_form(tmp_path, legible):
    done = legible("export", "builtin", "--form", "merged", "--out", str(tmp_path / "whole"), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["equal"] == 12
    assert load_checkpoint(tmp_path / "whole").calibrator.refusal is None
    done = legible("export", "builtin", "--form", "adapters", "--rank", "8", "--out", str(tmp_path / "cut"))
    assert done.code == 0, done.err
    assert "the calibrator is not carried over" in done.err
    assert load_checkpoint(tmp_path / "cut").calibrator is None


def test_the_target_goes_along_where_it_lies_in_the_checkpoint(tmp_path):
    path = pair_at(tmp_path, SHAPES["adapted"])
    shutil.copytree(tmp_path / "base", path / "target")
    export_checkpoint(str(path), "adapters", tmp_path / "out")
    shutil.rmtree(tmp_path / "base")
    shutil.rmtree(path)
    found = load_checkpoint(tmp_path / "out")
    assert isinstance(found.target, Target)
    assert isinstance(found.reconstructor, Reconstructor)
    assert trainable_parameters(found.verbalizer)


def test_the_released_layout_names_no_calibrator_that_it_leaves_behind(tmp_path, legible):
    done = legible("export", "builtin", "--form", "kitft", "--out", str(tmp_path / "kit"))
    assert done.code == 0, done.err
    for role in ("av", "ar"):
        written = read_contract(tmp_path / "kit" / f"kit-{role}")
        assert written.legible.language == "world"
        assert written.legible.calibrator is None


@pytest.mark.parametrize("form", ["merged", "adapters", "kitft", "easynla"])
def test_the_command_that_an_export_prints_works_where_the_checkpoint_has_gone(form, tmp_path, legible):
    if form == "easynla":
        path = imported(tmp_path)
    else:
        path = pair_at(tmp_path, SHAPES["adapted"])
        shutil.copytree(tmp_path / "base", path / "target")
    done = legible("export", str(path), "--form", form, "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert "read back: 12 of 12 explanations" in done.err
    command = done.err.strip().splitlines()[-1]
    assert command.startswith("legible ")
    shutil.rmtree(path)
    shutil.rmtree(tmp_path / "base")
    given = command.replace("TEXT", "w10").replace("CHECKPOINT", str(tmp_path / "again")).split()[1:]
    done = legible(*given)
    assert done.code == 0, done.err
    if form == "easynla":
        assert legible("read", str(tmp_path / "again"), "w10").code == 0


def test_a_target_beside_a_pair_counts_only_where_the_contract_knows_its_weights(tmp_path):
    path = pair_at(tmp_path, SHAPES["whole"])
    export_checkpoint(str(path), "kitft", tmp_path / "mine")
    located = locate(tmp_path / "mine" / "mine-av")
    contract = read_contract(located.av)
    assert located.own_target(contract) == tmp_path / "mine" / "target"
    assert located.own_target(contract.model_copy(update={"legible": None})) is None
