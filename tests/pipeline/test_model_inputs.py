"""Models as others save them: loaded to what their files say, or refused with one message; every family."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import CONFIGS, tiny, words
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from legible.errors import UsageError
from legible.models.arch import FAMILIES
from legible.models.loading import load_tokenizer
from legible.models.target import Target

TEXTS = ["w3 w10", " W3  w1\n\tw2.", "w1w2 ünï ☃ 12345 don't", "<s> w1 </s><pad><unk>", "<mask>w1", "w4 " * 30]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in CONFIGS:
        target = tiny(family)
        target.model.save_pretrained(folder / family)
        target.tokenizer.save_pretrained(folder / family)
    return folder


@pytest.fixture
def model(saved, tmp_path) -> Callable[..., Path]:
    def copy(family: str = "llama", file: str = "config.json", **changes: Any) -> Path:
        folder = Path(shutil.copytree(saved / family, tmp_path / "model"))
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
        return folder

    return copy


def test_token_ids_past_the_embedding_are_refused_with_both_sizes(model):
    folder = model(vocab_size=30)
    weights = load_file(folder / "model.safetensors")
    cut = {name: w[:30].clone() if "embed" in name or "head" in name else w for name, w in weights.items()}
    save_file(cut, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"token id 47 of .* at least 48 tokens, the embedding 30 rows"):
        Target.load(str(folder))


def test_a_token_added_without_a_row_is_refused_where_a_text_holds_it(model):
    folder = model()
    tokenizer = words()
    tokenizer.add_tokens(["wow"])
    tokenizer.save_pretrained(folder)
    target = Target.load(str(folder))
    assert target.encode("w3 w10").ids == [0, 7, 14]
    for use in (
        lambda: target.encode("w3 wow"),
        lambda: target.logits(torch.tensor([[0, 48]]), torch.ones(1, 2, dtype=torch.long)),
    ):
        with pytest.raises(UsageError, match=r"token id 48 of .* at least 49 tokens, the embedding 48 rows"):
            use()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "GPTQ"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemm"}}, "AWQ"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes"),
        ({"max_position_embeddings": None}, "'max_position_embeddings' expected int, got NoneType"),
        ({"num_hidden_layers": "3"}, "'num_hidden_layers' expected int, got str"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "'rope_type'='linear': {'factor'}"),
        ({"rope_parameters": None, "rope_scaling": {"type": "zzz", "factor": 2.0}}, "'zzz' is unknown"),
        ({"rope_parameters": {"rope_type": "linear", "factor": "2", "rope_theta": 1e4}}, "TypeError"),
        ({"hidden_act": "zzz"}, "'zzz' is unknown"),
        ({"max_position_embeddings": 0}, "max_position_embeddings 0, expected a positive"),
    ],
)
def test_a_configuration_that_cannot_be_loaded_is_bad_usage(config, message, model, legible, tmp_path):
    corpus = tmp_path / "c.txt"
    corpus.write_text("w1 w2 w3\n" * 50)
    done = legible("capture", str(model(**config)), "--corpus", str(corpus), "--layers", "1", "--out", "store")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_null_or_text_for_any_number_of_a_configuration_is_loaded_or_refused(family, saved, tmp_path):
    folder = Path(shutil.copytree(saved / family, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    numbers = [key for key, value in config.items() if type(value) in (int, float) and not key.endswith("_id")]
    assert {"initializer_range", "vocab_size"} <= set(numbers)
    refused = 0
    for key in numbers:
        for value in (None, str(config[key]), -1):
            (folder / "config.json").write_text(json.dumps({**config, key: value}))
            try:
                Target.load(str(folder)).self_check(1)
            except UsageError:
                refused += 1
    assert refused > len(numbers)


@pytest.mark.parametrize("part", ["model", "normalizer", "pre_tokenizer", "post_processor"])
def test_an_unknown_kind_of_tokenizer_is_refused(part, model):
    folder = model(file="tokenizer.json", **{part: {"type": "Zzz"}})
    with pytest.raises(UsageError, match=r"cannot load the tokenizer of .*\n  Expected a tokenizer.json"):
        Target.load(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_git_lfs_pointer_is_named_with_the_way_to_the_file(name, model):
    folder = model()
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UsageError, match=rf"{name} is a git-lfs pointer, not the file itself.\n.*git lfs pull"):
        Target.load(str(folder))


def test_a_byte_order_mark_before_a_models_configuration_is_named(model):
    folder = model()
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + (folder / "config.json").read_bytes())
    with pytest.raises(UsageError, match="begins with a byte-order mark"):
        Target.load(str(folder))


@pytest.mark.parametrize("name", ["stories-lama", "models/stories-lama", "a/b/c", "./stories", "no hub name"])
def test_a_mistyped_path_is_refused_at_once(name, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    for load in (Target.load, load_tokenizer):
        with pytest.raises(UsageError, match=f"no directory at {name}: there is no such folder.*\n.*OWNER/MODEL"):
            load(name)
    assert time.monotonic() - began < 5


def wordy() -> Tokenizer:
    made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(words().get_vocab())}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def byte_level() -> Tokenizer:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>", "<unk>", "Ġw", "w3"]
    made = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [("Ġ", "w"), ("w", "3")], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def unigram() -> Tokenizer:
    pieces = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        *((f"{a}{b}", -1.5) for a in "▁w" for b in "w123"),
        ("▁", -3.0),
    ]
    made = Tokenizer(models.Unigram(pieces, 0, byte_fallback=False))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def word_piece() -> Tokenizer:
    made = Tokenizer(
        models.WordPiece({p: i for i, p in enumerate(["<unk>", "<s>", "</s>", "w", "##3", "##1"])}, unk_token="<unk>")
    )
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


@pytest.mark.parametrize("kind", [wordy, byte_level, unigram, word_piece])
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize(
    "said",
    [
        {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "add_eos_token": True},
        {"tokenizer_class": "LlamaTokenizer"},
        {"tokenizer_class": "LlamaTokenizerFast", "legacy": False, "add_bos_token": True},
        {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
        {"tokenizer_class": "Qwen2Tokenizer"},
        {"tokenizer_class": "GemmaTokenizer"},
        {"tokenizer_class": "GPTNeoXTokenizer"},
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        {"tokenizer_class": "NoSuchTokenizer", "model_max_length": 4},
        {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "<mask>"},
        {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": ["w3"]},
        {},
    ],
    ids=lambda said: "-".join(map(str, said.values())) or "silent",
)
@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_the_ids_of_a_tokenizer_are_those_of_its_file_or_it_is_refused(kind, start, said, model_type, tmp_path):
    made = kind()
    made.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "</s>", "<unk>")])
    if start:
        ids = [("<s>", made.token_to_id("<s>"))]
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=ids)
    made.save(str(tmp_path / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named | said))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    if {"mask_token", "extra_special_tokens"} & said.keys():
        with pytest.raises(UsageError, match=r"gives other ids than its tokenizer.json"):
            load_tokenizer(str(tmp_path))
        return
    tokenizer = load_tokenizer(str(tmp_path))
    for text in TEXTS:
        assert tokenizer(text).input_ids == made.encode(text).ids
        assert tokenizer(text, add_special_tokens=False).input_ids == made.encode(text, add_special_tokens=False).ids
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<s>", "</s>", "<unk>")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_saved_tokenizer_of_any_family_gives_the_ids_of_its_file(family, saved):
    target = Target.load(str(saved / family))
    file = Tokenizer.from_file(str(saved / family / "tokenizer.json"))
    assert isinstance(target.tokenizer, PreTrainedTokenizerFast)
    for text in TEXTS:
        assert target.encode(text).ids == file.encode(text).ids
        assert target.encode(text).offsets == file.encode(text).offsets
