"""GGUF files as targets: the model and the token ids that the file says, a cache that proves itself, refusals."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ggufs
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import load_file

from legible.data.store import Store
from legible.errors import ContractError, UnsupportedModelError, UsageError
from legible.fileio import cache_dir
from legible.models import gguf as conversions
from legible.models.gguf import MANIFEST, converted
from legible.models.loading import load_tokenizer, width_of
from legible.models.target import Target
from legible.reading.opening import load_checkpoint

ARCHITECTURES = conversions.ARCHITECTURES
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and nothing proved before."""
    monkeypatch.setenv("LEGIBLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conversions, "_proved", {})
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path) -> Path:
    return ggufs.write(tmp_path / "tiny.gguf", ggufs.model("llama"), "llama")


def logits(model: torch.nn.Module, length: int = 40) -> torch.Tensor:
    ids = (torch.arange(length) * 7 + 3).remainder(200).unsqueeze(0)
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_file_gives_the_model_that_it_was_made_of(architecture, tmp_path):
    made = ggufs.model(architecture)
    target = Target.load(str(ggufs.write(tmp_path / "tiny.gguf", made, architecture)))
    torch.testing.assert_close(logits(target.model), logits(made), rtol=1e-4, atol=1e-4)
    target.self_check(0)
    target.self_check(target.n_layers - 1)
    assert target.name == str(tmp_path / "tiny.gguf")
    assert target.model.name_or_path == target.name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0, GGMLQuantizationType.BF16])
def test_weights_are_the_files_own_dequantised_to_the_last_bit(kind, tied, tmp_path):
    made = ggufs.model("llama", tie_word_embeddings=tied)
    path = ggufs.write(tmp_path / "tiny.gguf", made, "llama", kind=kind)
    found = load_file(converted(path) / "model.safetensors")
    expected = {}
    for tensor in GGUFReader(path).tensors:
        weight = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            heads = 4 if "attn_q" in tensor.name else 2
            order = np.arange(len(weight)).reshape(heads, -1, 2).swapaxes(1, 2).ravel()  # evens first, then odds
            weight = weight[order]
        expected[tensor.name] = weight
    assert len(found) == len(expected)
    for name, weight in expected.items():
        parts = name.split(".")
        ours = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}.get(parts[0])
        ours = ours or f"model.layers.{parts[1]}.{ggufs.NAMES[parts[2]]}"
        np.testing.assert_array_equal(found[f"{ours}.weight"], weight, err_msg=name)


@pytest.mark.parametrize(("split", "digits_first"), [("smollm", True), ("gpt-2", False)])
@pytest.mark.parametrize("add_bos", [True, False, None])
def test_ids_are_those_of_the_files_own_vocabulary(split, digits_first, add_bos, tmp_path):
    path = ggufs.write(tmp_path / "tiny.gguf", ggufs.model("llama"), "llama", split=split, add_bos=add_bos)
    tokenizer = load_tokenizer(str(path))
    own = ggufs.Vocabulary(path, digits_first=digits_first)
    for text in ggufs.TEXTS:
        assert tokenizer(text).input_ids == [1] * bool(add_bos) + own.encode(text), text
        assert tokenizer.decode(own.encode(text)) == text
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|start|>", "<|end|>")
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False)
    assert shown == "<|start|>user: the<|end|>"


def test_digits_by_themselves_change_what_the_spaces_before_them_become(tmp_path):
    texts = ("a  1", "\n\n1")  # transformers splits "smollm" as "gpt-2": other ids
    ids = {}
    for split in ("smollm", "gpt-2"):
        path = ggufs.write(tmp_path / f"{split}.gguf", ggufs.model("llama"), "llama", split=split)
        ids[split] = [load_tokenizer(str(path))(text).input_ids for text in texts]
    assert ids["smollm"] != ids["gpt-2"]


def test_sentencepiece_ids_take_runs_of_spaces_whole_and_begin_with_bos(tmp_path):
    path = ggufs.write(tmp_path / "tiny.gguf", ggufs.model("gemma3"), "gemma3", add_bos=True)
    tokenizer, own = load_tokenizer(str(path)), ggufs.Vocabulary(path)
    for text in ggufs.TEXTS:
        assert tokenizer(text).input_ids == [2, *own.encode(text)], text
    assert own.encode("a" + " " * 7 + "a").count(own.ids["   "]) == 2


def test_whole_tokens_need_no_merges_and_bos_comes_first_where_llama_3_splits(tmp_path):
    path = ggufs.write(tmp_path / "tiny.gguf", ggufs.model("llama"), "llama", split="llama-bpe")
    own = ggufs.Vocabulary(path)
    assert load_tokenizer(str(path))(f"{ggufs.UNMERGED} the").input_ids == [1, own.ids[ggufs.UNMERGED], own.ids["Ġthe"]]
    assert len(own.encode(ggufs.UNMERGED)) == 2


@pytest.mark.parametrize("ends", [{}, {"tokenizer.ggml.eot_token_id": 5}])
def test_a_turns_end_ends_texts_too(ends, tmp_path):
    path = ggufs.write(tmp_path / "tiny.gguf", ggufs.model("llama"), "llama", keys=ends)
    assert Target.load(str(path)).end_ids == (0, *ends.values())


def test_llama_3s_factors_scale_positions_as_its_config_does(tmp_path):
    made = ggufs.model("llama", rope_parameters=LLAMA3)
    plain = 1.0 / 10000.0 ** (torch.arange(0, 16, 2) / 16)
    factors = (plain / made.model.rotary_emb.inv_freq).numpy()
    assert factors.max() == pytest.approx(8)
    path = ggufs.write(tmp_path / "tiny.gguf", made, "llama", extra={"rope_freqs.weight": factors})
    torch.testing.assert_close(logits(Target.load(str(path)).model), logits(made), rtol=1e-4, atol=1e-4)
    path = ggufs.write(tmp_path / "other.gguf", made, "llama", extra={"rope_freqs.weight": factors[::-1].copy()})
    with pytest.raises(UnsupportedModelError, match=r"its own factors .*not those of Llama 3"):
        converted(path)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_linear_scaling_of_positions_is_kept_and_another_refused(architecture, tmp_path):
    scaled = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}
    if architecture == "gemma3":
        scaled = {"full_attention": scaled, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    others = {"layer_types": ["sliding_attention", "full_attention"]} if architecture == "gemma3" else {}
    made = ggufs.model(architecture, rope_parameters=scaled, **others)
    keys = {f"{architecture}.rope.scaling.type": "linear", f"{architecture}.rope.scaling.factor": 8.0}
    path = ggufs.write(tmp_path / "tiny.gguf", made, architecture, keys=keys)
    rope = json.loads((converted(path) / "config.json").read_text())["rope_parameters"]
    assert rope.get("full_attention", rope) == {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}
    if architecture == "llama":
        torch.testing.assert_close(logits(Target.load(str(path)).model), logits(made), rtol=1e-4, atol=1e-4)
    keys[f"{architecture}.rope.scaling.type"] = "yarn"
    with pytest.raises(UnsupportedModelError, match="scales positions by 'yarn'"):
        converted(ggufs.write(tmp_path / "yarn.gguf", made, architecture, keys=keys))


def refusals(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is wrong with a file -> the file, and what the refusal says."""
    made = ggufs.model("llama")
    whole = ggufs.write(folder / "whole.gguf", made, "llama")
    data = whole.read_bytes()

    def raw(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def other(name: str, **how) -> Path:
        return ggufs.write(folder / f"{name}.gguf", made, "llama", **how)

    bias = {"blk.0.attn_q.bias": np.zeros(64, dtype=np.float32)}
    return {
        "a header cut short": (
            raw("a.gguf", data[:900]),
            "cannot read the GGUF file .*a.gguf.*\n.*damaged or shortened",
        ),
        "weights cut short": (
            raw("b.gguf", data[:-5000]),
            "cannot read the GGUF file .*b.gguf.*\n.*damaged or shortened",
        ),
        "a web page": (raw("c.gguf", b"<!DOCTYPE html>"), r"is no GGUF file: it begins with b'<!DO'"),
        "an empty file": (raw("d.gguf", b""), "is no GGUF file: it begins with b''"),
        "a pointer": (raw("e.gguf", b"version https://git-lfs.github.com/spec/v1\n"), "is a git-lfs pointer"),
        "an unknown architecture": (
            raw("f.gguf", data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba", 1)),
            "architecture 'mamba', which is not supported.\n.*: gemma3, gpt2, llama, qwen2, qwen3",
        ),
        "an adapter without a tokenizer": (
            raw("l.gguf", data.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.nokens", 1)),
            "holds no tokenizer: it is no whole language model",
        ),
        "a part of a split file": (other("g", keys={"split.count": 3}), "one of 3 parts.*\n.*--merge"),
        "weights left out by transformers": (
            other("h", extra=bias),
            "holds blk.0.attn_q.bias, which transformers leaves",
        ),
        "weights that are missing": (
            other("i", without=["blk.1.ffn_up.weight"]),
            "lacks model.layers.1.mlp.up_proj.weight, which LlamaForCausalLM needs",
        ),
        "an unknown split of texts": (other("j", split="klingon"), "splits texts by the rule 'klingon'"),
        "no split of texts": (other("k", split=None), "splits texts by the rule None"),
    }


def test_what_cannot_be_read_is_refused_by_name_and_leaves_nothing(tmp_path, cache):
    for what, (path, said) in refusals(tmp_path).items():
        with pytest.raises(UsageError, match=said):
            converted(path)
        left = [file.name for file in (cache / "gguf").glob("*") if not file.name.endswith(".lock")]
        assert left == [], what


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_extra_is_named(package, file, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf'takes the package {package} to read.\n.*pip install "legible-nla\[gguf\]"'):
        converted(file)


def test_a_conversion_is_made_once_and_again_when_it_is_damaged(file, cache, tmp_path, capsys, monkeypatch):
    folder = converted(file)
    first = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert "converting" in capsys.readouterr().err
    same = shutil.copy(file, tmp_path / "elsewhere.gguf")
    assert converted(Path(same)) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == first
    assert capsys.readouterr().err == ""

    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    for break_it in (
        lambda: weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1])),
        lambda: weights.unlink(),
        lambda: (folder / MANIFEST).write_text("{"),
    ):
        break_it()
        monkeypatch.setattr(conversions, "_proved", {})  # as a new process
        assert converted(file) == folder
        assert "again: what is kept there is damaged" in capsys.readouterr().err
        assert weights.read_bytes() == good


def test_another_file_under_the_same_path_is_another_model(file):
    before = converted(file)
    ggufs.write(file, ggufs.model("qwen2"), "qwen2")
    assert converted(file) != before


def test_a_killed_conversion_leaves_nothing_and_is_made_again(file, cache):
    program = (
        "import sys; from pathlib import Path; from legible.models.gguf import converted; converted(Path(sys.argv[1]))"
    )
    env = {**os.environ, "LEGIBLE_FAULT": "rename:1"}
    killed = subprocess.run([sys.executable, "-c", program, str(file)], env=env, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not list((cache / "gguf").glob(f"[!.]*/{MANIFEST}"))
    assert (converted(file) / MANIFEST).is_file()
    assert [path.suffix for path in (cache / "gguf").glob(".*")] == [".lock"]


def test_a_full_disk_is_told_and_leaves_nothing(file, cache, legible):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        done = legible("read", str(file), "the", "--method", "logit-lens")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 1
    assert re.search(rf"error: {cache}/gguf/.*: .*File too large", done.err)
    assert not list((cache / "gguf").glob("*"))[1:]  # but for the lock
    assert (converted(file) / MANIFEST).is_file()


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("LEGIBLE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "legible"


def test_a_file_and_its_folder_are_read_captured_and_scanned_from_the_command_line(file, tmp_path, legible):
    text = "the rain in the inn and the other rain in the other inn "
    for name in (str(file), str(tmp_path)):
        done = legible("read", name, text, "--method", "logit-lens", "--positions", "-1", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["layer"] == 1
    (tmp_path / "texts.txt").write_text((text * 2 + "\n") * 30, encoding="utf-8")
    corpus = ("--corpus", str(tmp_path / "texts.txt"))
    sampled = ("--layers", "0", "--min-pos", "4", "--positions-per-doc", "2", "--documents", "4")
    done = legible("capture", str(file), *corpus, *sampled, "--out", str(tmp_path / "store"))
    assert done.code == 0, done.err
    origin = Store.open(tmp_path / "store").origin
    assert origin["target"] == str(file)
    assert origin["sha256"] == Target.load(str(file)).sha256()


def test_several_files_in_a_folder_are_listed_to_choose_from(file, tmp_path, legible):
    second = shutil.copy(file, tmp_path / "second.gguf")
    done = legible("read", str(tmp_path), "the", "--method", "logit-lens")
    assert done.code == 2
    assert f"holds 2 GGUF files; name the one to read:\n    {second}\n    {file}" in done.err
    assert legible("read", str(second), "the", "--method", "logit-lens").code == 0


def test_a_model_directory_with_a_gguf_file_beside_its_weights_is_read_as_it_is(file, tmp_path, cache):
    folder = tmp_path / "both"
    shutil.copytree(converted(file), folder)
    shutil.copy(file, folder / "tiny.gguf")
    assert Target.load(str(folder)).model.name_or_path == str(folder)


def test_a_mistyped_path_of_a_file_is_refused(tmp_path, legible):
    done = legible("read", str(tmp_path / "nothing.gguf"), "the", "--method", "logit-lens")
    assert done.code == 2
    assert "no file at" in done.err


def test_a_target_of_another_width_is_refused_before_its_conversion(file, cache):
    assert width_of(str(file)) == width_of(str(file.parent)) == Target.load(str(file)).d_model
    shutil.rmtree(cache)
    with pytest.raises(ContractError, match="was made for a target of width"):
        load_checkpoint("builtin", target=str(file))
    assert not cache.exists()
