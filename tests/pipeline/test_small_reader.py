"""Readers of some of the target's blocks, a head over some ids, a learned map: what they compute, save and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import train_jobs as jobs
from families import WIDTH, tiny, words
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from legible.config import SFTConfig, validated
from legible.contract import LegibleExtra, TargetRecord, check_contract, read_contract, write_contract
from legible.engines.cached import CachedStepper
from legible.engines.local import LocalEngine
from legible.engines.search import search_engine
from legible.errors import ConfigError, ContractError, UsageError
from legible.injection import Injection
from legible.languages.world import build_tokenizer
from legible.models.arch import with_blocks
from legible.models.differences import OWN, pack_head
from legible.models.outputs import Outputs, byte_ids, corpus_ids
from legible.models.roles import Shape, new_reconstructor, new_verbalizer, trainable_parameters
from legible.prompts import plain_verbalizer_prompt
from legible.reading.checkpoint import save_checkpoint
from legible.reading.opening import load_checkpoint
from legible.train.sft import verbalizer_training
from legible.train.text_writer import TextWriter, train_text_writer

IDS = torch.tensor([[9, 5, 1], [7, 20, 1]])
MASK = torch.ones_like(IDS)
VECTORS = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
OUTPUT_IDS = (1, 5, 7, 9, 11, 20, 30)
SMALL = Shape(blocks=(0, 2), output_ids=OUTPUT_IDS, affine=True)
FAMILIES = ["llama", "qwen3", "qwen3_moe", "gemma3_text", "gpt2", "gpt_neox"]


def shaken(role: torch.nn.Module) -> None:
    """What training does, at random: every weight that trains moves."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainable_parameters(role).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_some_blocks_is_the_target_with_the_others_passed_over(family):
    target = tiny(family)
    handle = target.arch.blocks[1].register_forward_hook(lambda _module, args, _output: args[0])
    expected = target.model(input_ids=IDS, use_cache=False).logits
    handle.remove()
    kept = with_blocks(target.model, (0, 2))
    torch.testing.assert_close(kept(input_ids=IDS, use_cache=False).logits, expected)
    before, cache = kept(input_ids=IDS[:, :2], use_cache=True), None
    cache = before.past_key_values
    after = kept(input_ids=IDS[:, 2:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(after, expected[:, 2:], rtol=1e-4, atol=1e-4)  # each block has its own place in a cache
    owned = {p.data_ptr() for p in target.model.parameters()}
    assert {p.data_ptr() for p in kept.parameters()} <= owned
    assert target.n_layers == len(target.arch.blocks) == 3


@pytest.mark.parametrize("blocks", [(), (0, 3), (2, 0), (1, 1), (-1, 0)])
def test_blocks_that_the_target_does_not_have_are_refused(blocks):
    with pytest.raises(UsageError, match="expected some of 0 to 2, each once, in ascending order"):
        with_blocks(tiny("llama").model, blocks)


@pytest.mark.parametrize("blocks", [[], [2, 0], [1, 1], [-1, 0]])
def test_impossible_blocks_are_refused_in_the_configuration(blocks):
    with pytest.raises(ConfigError, match=r"verbalizer_blocks.*in ascending order"):
        validated(SFTConfig, {"verbalizer_blocks": blocks})


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_a_small_reader_copies_its_blocks_and_shares_the_token_embedding(family):
    target = tiny(family)
    sha = target.sha256()
    verbalizer, reconstructor = new_verbalizer(target, Injection(), SMALL), new_reconstructor(target, 1, SMALL)
    owned = {p.data_ptr() for p in target.model.parameters()}
    for role in (verbalizer, reconstructor):
        frozen = [p for p in role.parameters() if not p.requires_grad]
        assert role.arch.embedding.weight.data_ptr() == target.arch.embedding.weight.data_ptr()
        assert {p.data_ptr() for p in frozen} <= owned
        assert not {p.data_ptr() for p in trainable_parameters(role).values()} & owned
        shaken(role)
    assert (reconstructor.layer, reconstructor.arch.n_layers) == (1, 2)
    target._sha256 = None
    assert target.sha256() == sha


def test_a_corpus_head_is_the_whole_head_among_its_ids():
    target = tiny("llama")
    whole = new_verbalizer(target, Injection(), Shape(blocks=(0, 2)))
    small = new_verbalizer(target, Injection(), Shape(blocks=(0, 2), output_ids=OUTPUT_IDS))
    logits = whole.logits(VECTORS, IDS, MASK)
    assert small.logits(VECTORS, IDS, MASK).shape == (2, 3, len(OUTPUT_IDS))
    among = F.log_softmax(logits[..., list(OUTPUT_IDS)], -1)
    expected = torch.stack([among[b, i, OUTPUT_IDS.index(int(IDS[b, i]))] for b in range(2) for i in range(3)])
    torch.testing.assert_close(small(VECTORS, IDS, MASK).flatten(), expected)


def test_an_affine_map_starts_as_the_identity_and_learns():
    target = tiny("llama")
    for injection in (Injection(), Injection("add", None, 0), Injection("replace", 3.0)):
        plain, mapped = (new_verbalizer(target, injection, Shape((0, 2), affine=affine)) for affine in (False, True))
        torch.testing.assert_close(mapped(VECTORS, IDS, MASK), plain(VECTORS, IDS, MASK))
        mapped(VECTORS, IDS, MASK).sum().backward()
        assert mapped.injection_map.weight.grad.abs().sum() > 0
        assert mapped.injection_map.bias.grad.abs().sum() > 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_engines_write_token_ids_of_a_corpus_head(family):
    verbalizer = new_verbalizer(tiny(family), Injection(), SMALL)
    shaken(verbalizer)
    written = {}
    for name, engine in (("lean", LocalEngine(verbalizer)), ("plain", LocalEngine(verbalizer, stepper=CachedStepper))):
        groups = engine.generate(VECTORS, samples=6, temperature=1.5, max_tokens=12)
        written[name] = [[one.ids for one in group] for group in groups]
        for row, group in enumerate(groups):
            for one in group:
                ids = torch.tensor([[*one.ids, *([one.stop_id] if one.stop_id is not None else [])]])
                assert set(ids[0].tolist()) <= set(OUTPUT_IDS)
                assert 1 not in one.ids
                logp = verbalizer.logprobs(VECTORS[row : row + 1], ids, ids * 0 + 1, temperature=1.5)[0]
                torch.testing.assert_close(logp, torch.tensor(one.logprobs), rtol=1e-3, atol=1e-4)
    assert written["lean"] == written["plain"]
    assert len({token for group in written["lean"] for ids in group for token in ids}) > 3


def test_a_search_writes_with_a_corpus_head():
    target = tiny("llama")
    verbalizer, reconstructor = new_verbalizer(target, Injection(), SMALL), new_reconstructor(target, 1, SMALL)
    engine = search_engine("best-of-n", verbalizer, reconstructor, budget=4)
    for (one,) in engine.generate(VECTORS, max_tokens=8):
        assert set(one.ids) <= set(OUTPUT_IDS)


def test_a_token_outside_of_the_head_is_named():
    verbalizer = new_verbalizer(tiny("llama"), Injection(), SMALL)
    ids = torch.tensor([[9, 8, 1]] * 2)
    with pytest.raises(UsageError, match="token 8 is none of the 7"):
        verbalizer(VECTORS, ids, MASK)


# any text can be written


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE with a few merges, as Llama 3, Qwen and SmolLM have it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(["<s>", "</s>", *alphabet, "th", "the", "Ġthe", "Ã©"])}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ã", "©")]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


TOKENIZERS = {"world": build_tokenizer(), "byte level": byte_level()}


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@given(text=st.text(min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_text_spelled_in_bytes_is_the_same_text(name, text):
    tokenizer = TOKENIZERS[name]
    prompt = plain_verbalizer_prompt(tokenizer)
    taught = tokenizer(["the fox rests", "the sea"], add_special_tokens=False)["input_ids"]
    outputs = Outputs(corpus_ids(tokenizer, prompt, taught), len(tokenizer))
    assert {*prompt.stop_ids, *byte_ids(tokenizer)} <= set(outputs.ids.tolist())
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id in ids:
        return
    spelled = outputs.spelled(ids, tokenizer)
    assert set(spelled) <= set(outputs.ids.tolist())
    assert tokenizer.decode(spelled) == tokenizer.decode(ids)


def test_without_byte_tokens_an_unwritable_text_gives_nothing():
    tokenizer = words()
    outputs = Outputs(OUTPUT_IDS, 48)
    assert byte_ids(tokenizer) == ()
    assert outputs.spelled([5, 7], tokenizer) == [5, 7]
    assert outputs.spelled([5, 8], tokenizer) == []


@pytest.mark.parametrize("ids", [[], [3, 3], [48], [-1]])
def test_impossible_output_ids_are_refused(ids):
    with pytest.raises(UsageError, match="expected each once and below 48"):
        Outputs(ids, 48)


# on disk


def checkpoint(folder: Path, family: str = "llama", *, merged: bool = False, shape: Shape = SMALL, **told: Any):
    target = tiny(family)
    target.model.save_pretrained(folder / "base")
    words().save_pretrained(folder / "base")
    target.name = str(folder / "base")
    roles = new_verbalizer(target, Injection(), shape), new_reconstructor(target, 1, shape)
    for role in roles:
        shaken(role)
    extra = LegibleExtra(target=TargetRecord(id=target.name, sha256=target.sha256()), **told)
    return save_checkpoint(folder / "checkpoint", *roles, extra, merged=merged), roles


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("merged", [False, True])
def test_a_small_pair_reads_as_it_was_saved(family, merged, tmp_path):
    path, (verbalizer, reconstructor) = checkpoint(tmp_path, family, merged=merged)
    assert check_contract(path) == []
    extra = read_contract(path / "av").legible
    assert (extra.blocks.av, extra.blocks.ar, extra.output_ids, extra.injection.map) == ([0, 2], [0, 2], 7, "affine")
    assert "| blocks kept | av [0, 2], ar [0, 2] |" in (path / "README.md").read_text()
    found = load_checkpoint(path)
    assert (found.layer, found.reconstructor.layer) == (1, 1)
    torch.testing.assert_close(found.verbalizer(VECTORS, IDS, MASK), verbalizer(VECTORS, IDS, MASK))
    texts = ["w5 w6", "w20"]
    torch.testing.assert_close(found.reconstructor.reconstruct(texts), reconstructor.reconstruct(texts))
    mine, theirs = (LocalEngine(v).generate(VECTORS, max_tokens=8) for v in (verbalizer, found.verbalizer))
    assert [group[0].ids for group in mine] == [group[0].ids for group in theirs]
    assert set(trainable_parameters(found.verbalizer)) == set(trainable_parameters(verbalizer))
    owned = {p.data_ptr() for p in found.target.model.parameters()}
    assert (found.verbalizer.arch.embedding.weight.data_ptr() in owned) is not merged
    assert (path / "av" / "model.safetensors").exists() is merged


def test_a_small_reader_trains_and_is_saved_as_an_adapter_too(tmp_path):
    shape = Shape((0, 2), jobs.ADAPTER, OUTPUT_IDS, True)
    path, (verbalizer, _) = checkpoint(tmp_path, shape=shape)
    config = json.loads((path / "av" / "adapter_config.json").read_text())
    numbers = {name.split(".")[2] for name in config["target_modules"]}
    assert numbers == {"0", "2"}  # the target's own
    assert set(load_file(path / "av" / OWN)) == {
        "lm_head.weight", "output_ids", "injection_map.weight", "injection_map.bias"
    }  # fmt: skip
    found = load_checkpoint(path)
    torch.testing.assert_close(found.verbalizer(VECTORS, IDS, MASK), verbalizer(VECTORS, IDS, MASK))


def test_a_head_in_four_bits_is_read_back_to_half_a_step(tmp_path):
    shape = Shape((0, 2), jobs.ADAPTER, OUTPUT_IDS, True)
    path, _ = checkpoint(tmp_path, shape=shape)
    own, target = path / "av" / OWN, load_checkpoint(path).target
    before = load_file(own)
    share = pack_head(path / "av", target.model)
    packed = load_file(own)
    assert 0.95 < share < 1.0
    assert set(packed) == set(before) - {"lm_head.weight"} | {"lm_head.levels", "lm_head.step"}
    assert packed["lm_head.levels"].numel() * 2 == before["lm_head.weight"].numel()
    head = load_checkpoint(path).verbalizer.model.get_output_embeddings().weight
    steps = packed["lm_head.step"].float().repeat_interleave(head.shape[1] // packed["lm_head.step"].shape[1], 1)
    assert ((head - before["lm_head.weight"]).abs() <= 0.51 * steps).all()
    assert pack_head(path / "av", target.model) == 1.0  # packed already
    save_file(packed | {"lm_head.step": packed["lm_head.step"][:-1].clone()}, own)
    with pytest.raises(ContractError, match="lm_head has"):
        load_checkpoint(path)


def amended(path: Path, role: str, **changes: object) -> None:
    contract = read_contract(path / role)
    write_contract(path / role, contract.model_copy(update={"legible": contract.legible.model_copy(update=changes)}))


def test_a_contract_that_does_not_fit_a_small_pair_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path)
    before = read_contract(path / "av").legible
    amended(path, "av", output_ids=None)
    with pytest.raises(ContractError, match="holds 7 output ids and a map, its contract says all output ids and a map"):
        load_checkpoint(path)
    amended(path, "av", output_ids=7, blocks=before.blocks.model_copy(update={"av": [0, 1]}))
    with pytest.raises(ContractError, match="is in none of the blocks"):
        load_checkpoint(path)


def test_a_whole_small_pair_with_another_number_of_blocks_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path, merged=True)
    blocks = read_contract(path / "ar").legible.blocks.model_copy(update={"ar": [0, 1, 2]})
    amended(path, "ar", blocks=blocks)
    assert [problem.what for problem in check_contract(path)] == ["the reconstructor keeps 2 blocks"]
    with pytest.raises(ContractError, match="keeps 2 blocks, its contract says 3"):
        load_checkpoint(path)


def test_a_damaged_head_is_refused(tmp_path):
    path, _ = checkpoint(tmp_path)
    own = load_file(path / "av" / OWN)
    save_file(own | {"output_ids": torch.tensor([1, 1, 2])}, path / "av" / OWN)
    with pytest.raises(UsageError, match="3 output ids, 2 of them different"):
        load_checkpoint(path)
    short = own | {"output_ids": own["output_ids"][:-1].clone()}
    save_file(short, path / "av" / OWN)
    with pytest.raises(ContractError, match="the head has 7 rows for 6 output ids"):
        load_checkpoint(path)


# trained


CONFIG = jobs.SFT.model_copy(
    update={
        "steps": 6, "verbalizer_blocks": (0, 2), "reconstructor_blocks": (0, 2), "output_vocabulary": "corpus",
        "injection_map": "affine",
    }
)  # fmt: skip


@pytest.mark.parametrize("adapter", [None, jobs.ADAPTER])
def test_a_warm_start_leaves_a_small_pair_that_reads(folder, store, tmp_path, adapter):
    jobs.sft(folder, tmp_path / "sft", CONFIG.model_copy(update={"adapter": adapter}))
    found = load_checkpoint(tmp_path / "sft")
    assert check_contract(tmp_path / "sft" / "checkpoint") == []
    assert (found.verbalizer.blocks, found.reconstructor.blocks) == ((0, 2), (0, 2))
    assert len(found.verbalizer.outputs) < len(found.verbalizer.tokenizer)
    losses = [json.loads(line) for line in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()]
    for role in ("av", "ar"):
        of_role = [row["loss"] for row in losses if row["role"] == role]
        assert of_role[-1] < of_role[0]
    engine = LocalEngine(found.verbalizer)
    assert engine.generate(store.vectors([0, 1], jobs.LAYER), max_tokens=8)


def test_a_corpus_head_needs_no_text_left_out(folder, target, store):
    plain, corpus = (
        verbalizer_training(config, target, jobs.LAYER, store, folder / "teach.jsonl") for config in (jobs.SFT, CONFIG)
    )
    assert len(plain.table) == len(corpus.table)
    assert all(plain.table[i] == corpus.table[i] for i in range(len(plain.table)))


def test_the_text_only_writer_is_the_small_verbalizers_twin(folder, target, store, tmp_path):
    given = (CONFIG, target, jobs.LAYER, store, folder / "teach.jsonl")
    train_text_writer(*given, tmp_path, made_by="writer")
    writer = TextWriter.load(tmp_path, target, CONFIG)
    assert writer.verbalizer.blocks == (0, 2)
    written = writer.write([store.row(0), store.row(5)], max_tokens=8)
    assert len(written) == 2


def test_blocks_past_the_target_are_refused_before_anything_is_trained(folder, tmp_path):
    config = CONFIG.model_copy(update={"reconstructor_blocks": (0, 7)})
    with pytest.raises(UsageError, match=r"sft.reconstructor_blocks are \[0, 7\]: expected some of 0 to 2"):
        jobs.sft(folder, tmp_path / "sft", config)
    assert not (tmp_path / "sft").exists()
