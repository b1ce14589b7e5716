"""Instruments without training, against plain forwards with hooks written out here; then `legible read --method`."""

import copy
import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import GPT2Config, LlamaConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from legible import instruments
from legible.errors import InjectionError, UsageError
from legible.instruments import INSTRUMENTS, LogitLens, Patchscopes, SelfIE, Setting, make_instrument
from legible.instruments.writing import PLACE, as_chat, embedding_norm, placed_prompt
from legible.languages.world import WorldLanguage
from legible.models import Arch, Target
from legible.probes import files
from legible.reading import zero_shot

UNTRAINED = [one.name for one in INSTRUMENTS.values() if one.alone and not one.trained]
VOCAB, WIDTH, DEPTH = 260, 32, 3
IDS = {"bos_token_id": 256, "eos_token_id": 257}
CONFIGS = {
    "llama": LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=200, **IDS,
    ),
    "gpt2": GPT2Config(vocab_size=VOCAB, n_embd=WIDTH, n_layer=DEPTH, n_head=4, n_positions=200, **IDS),
}  # fmt: skip
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(*, bos: bool = True, chat: bool = False) -> PreTrainedTokenizerFast:
    """Every byte is a piece and nothing is merged: the smallest vocabulary there is."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<|end|>", "<|assistant|>"]
    vocab = {piece: i for i, piece in enumerate([*letters, *special])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False,
        extra_special_tokens=["<|end|>", "<|assistant|>"],
    )  # fmt: skip
    found.chat_template = CHAT if chat else None
    return found


@pytest.fixture(params=sorted(CONFIGS))
def target(request) -> Target:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[request.param], attn_implementation="sdpa")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.15)
    return Target(model, byte_tokenizer(bos=request.param == "llama"), request.param)


@pytest.fixture
def vectors() -> Tensor:
    return torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0)) * 4


def texts_of(instrument, vectors: Tensor) -> list[str | None]:
    return [said.text for said in instrument.read(vectors)]


def plain_greedy(target: Target, ids: list[int], places: list[int], vector: Tensor, block: int | None, n: int) -> str:
    """The target's greedy text after a prompt, anew for every token: one row, no cache, the patch written out."""
    model = copy.deepcopy(target.model)
    written: list[int] = []

    def hook(_module, _args, output):
        output = output.clone()
        output[0, places] = vector
        return output

    if block is not None:
        Arch.find(model).blocks[block].register_forward_hook(hook)
    while len(written) < n:
        embeds = torch.nn.functional.embedding(torch.tensor([ids + written]), target.arch.embedding.weight)
        if block is None:
            embeds = embeds.clone()
            embeds[0, places] = vector / vector.norm() * target.arch.embedding.weight.norm(dim=1).mean()
        with torch.no_grad():
            token = int(model(inputs_embeds=embeds, use_cache=False).logits[0, -1].argmax())
        if token == 257:
            break
        written.append(token)
    return target.tokenizer.decode(written, skip_special_tokens=True)


def test_at_the_last_layer_the_logit_lens_is_the_targets_own_prediction(target):
    ids = torch.tensor([target.encode("The cat sat.").ids])
    mask = torch.ones_like(ids)
    stream = target.streams(ids, mask, (DEPTH - 1,))[DEPTH - 1][0]
    lens = LogitLens(target, DEPTH - 1, top=3)
    own = target.logits(ids, mask)[0]
    assert torch.allclose(lens.logits(stream), own, atol=1e-4)
    shares, tokens = own.softmax(-1).topk(3)
    for words, share, token in zip(lens.top(stream), shares, tokens, strict=True):
        assert [p for _, p in words] == pytest.approx(share.tolist(), abs=1e-5)
        assert words[0][0] == target.tokenizer.decode([97, int(token[0])])[len(target.tokenizer.decode([97])) :]


def test_an_earlier_layer_is_read_through_the_final_norm_and_the_head(target, vectors):
    with torch.no_grad():
        expected = target.model.get_output_embeddings()(target.arch.final_norm(vectors))
    assert torch.allclose(LogitLens(target, 0).logits(vectors), expected, atol=1e-5)


@pytest.mark.parametrize("block", [0, 1, 2])
def test_patchscopes_write_what_a_plain_patched_forward_writes(target, vectors, block):
    scope = Patchscopes(target, 1, at=block, prompt=f"a -> a\nbc -> bc\n{PLACE}", max_tokens=6)
    ids, places = list(scope.prompt.ids), list(scope.prompt.places)
    assert places == [len(ids) - 1]
    for vector, found in zip(vectors, texts_of(scope, vectors), strict=True):
        written = plain_greedy(target, ids, places, vector, block, 6)
        assert found == (written.strip().removeprefix("->").strip().partition("\n")[0].strip() or None)


@pytest.mark.parametrize("after", [-1, 0, 2])
def test_selfie_writes_what_a_plain_forward_with_soft_tokens_writes(target, vectors, after):
    asker = SelfIE(target, 1, after=after, copies=3, max_tokens=6)
    ids, places = list(asker.prompt.ids), list(asker.prompt.places)
    assert places == list(range(places[0], places[0] + 3))
    for vector, found in zip(vectors, texts_of(asker, vectors), strict=True):
        written = plain_greedy(target, ids, places, vector, None if after == -1 else after, 6)
        assert found == (" ".join(written.split()) or None)


@pytest.mark.parametrize("method", UNTRAINED)
def test_a_text_depends_on_its_own_vector_alone(target, vectors, method):
    instrument = make_instrument(method, Setting(target, 1))
    together = instrument.read(vectors)
    assert [instrument.read(vector[None])[0] for vector in vectors] == together
    assert len({said.text for said in together}) > 1
    assert not any(module._forward_hooks for module in target.model.modules())


def test_soft_tokens_have_the_usual_length_of_an_embedding(target):
    expected = target.arch.embed(torch.arange(VOCAB)).norm(dim=-1).mean()
    assert embedding_norm(target) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("bos", [True, False])
def test_a_base_models_prompt_starts_as_its_texts_start(bos):
    tokenizer = byte_tokenizer(bos=bos)
    prompt = placed_prompt(tokenizer, f"ab{PLACE}c", "_", 2)
    text = tokenizer("ab__c")["input_ids"]
    assert list(prompt.ids) == text
    assert [text[place] for place in prompt.places] == tokenizer("__", add_special_tokens=False)["input_ids"]


def test_a_chat_models_prompt_is_a_turn_of_its_template_without_a_second_start_token():
    tokenizer = byte_tokenizer(chat=True)
    rendered = as_chat(tokenizer, f"read {PLACE}", "It says")
    assert rendered == f"<|user|>read {PLACE}<|end|><|assistant|>It says"
    prompt = placed_prompt(tokenizer, rendered, "_", 1)
    assert tokenizer.decode(prompt.ids) == "<|user|>read _<|end|><|assistant|>It says"
    assert {258, 259} <= set(prompt.ids)
    assert as_chat(byte_tokenizer(), "read", "It") is None


def test_a_prompt_without_its_one_place_is_refused(target):
    for text in ("nothing here", f"{PLACE} and {PLACE}"):
        with pytest.raises(InjectionError, match=rf"holds {PLACE} {text.count(PLACE)} times, expected 1"):
            Patchscopes(target, 0, prompt=text)


def test_impossible_instruments_are_refused(target, vectors):
    with pytest.raises(UsageError, match="no instrument 'tuned': expected token-lookup, logit-lens, "):
        make_instrument("tuned", Setting(target, 0))
    for method in UNTRAINED:
        with pytest.raises(UsageError, match="layer 3 is out of range"):
            make_instrument(method, Setting(target, 3))
        with pytest.raises(UsageError, match=r"shape \(3, 8\), expected \[n, 32\]"):
            make_instrument(method, Setting(target, 0)).read(vectors[:, :8])
    with pytest.raises(UsageError, match="do not fit the context"):
        SelfIE(target, 0, max_tokens=180).read(vectors)


def test_an_instrument_that_nobody_registered_fails_the_import():
    with pytest.raises(ImportError, match=r"the register and the modules differ in selfie\."):
        instruments._registered(tuple(name for name in INSTRUMENTS if name != "selfie"))
    with pytest.raises(ImportError, match=r"the register and the modules differ in crystal-ball\."):
        instruments._registered((*INSTRUMENTS, "crystal-ball"))


@pytest.fixture
def model_dir(tmp_path, target):
    target.model.save_pretrained(tmp_path / "model")
    target.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


TEXT = "The cat sat on the mat."


@pytest.mark.parametrize("method", UNTRAINED)
def test_a_model_directory_is_read_without_training(legible, model_dir, method):
    done = legible("read", str(model_dir), TEXT, "--method", method, "--layer", "1", "--positions", "0,1:4", "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [row["pos"] for row in rows] == [0, 1, 2, 3]
    assert "early_position" in rows[0]["flags"]
    assert "early_position" not in rows[1]["flags"]
    target = Target.load(str(model_dir))
    ids = torch.tensor([target.encode(TEXT).ids])
    stream = target.streams(ids, torch.ones_like(ids), (1,))[1][0]
    assert [row["explanation"] for row in rows] == texts_of(
        make_instrument(method, Setting(target, 1)), stream[[0, 1, 2, 3]]
    )
    for row in rows:
        assert (row["layer"], row["direction_mse"], row["fve_token"]) == (1, None, None)
        assert row["norm"] == pytest.approx(float(stream[row["pos"]].norm()), rel=1e-4)
        assert all(claim["p_true"] is None for claim in row["claims"])
        assert not (row["claims"] and method == "logit-lens")
        assert (row["explanation"] is None) == ("p_true_reason" not in row)


def test_a_table_read_without_training_names_the_model_and_the_layer_and_has_no_scores(legible):
    done = legible("read", "builtin", TEXT, "--method", "logit-lens", "--positions", "-1", "--layer", "1")
    assert done.out.splitlines()[-1] == "read by logit-lens: model builtin, layer 1 (counted from 0)"
    assert "FVE" not in done.out


def test_the_target_of_the_built_in_pair_is_read_at_its_layer(legible, tmp_path):
    page = tmp_path / "lens.html"
    done = legible(
        "read", "builtin", "Pavel kept a hammer in the pocket.", "--method", "logit-lens", "--html", str(page)
    )
    assert done.code == 0
    assert "hammer" in done.out
    assert "logit-lens" in page.read_text(encoding="utf-8")
    assert zero_shot.load("builtin", "logit-lens").about() == {"method": "logit-lens", "model": "builtin", "layer": 2}


def test_options_of_a_checkpoint_and_of_a_method_do_not_mix(legible):
    cases = {
        "--samples and --method selfie do not go together": ["builtin", "Hi", "--method", "selfie", "--samples", "2"],
        "--layer goes with --method": ["builtin", "Hi", "--layer", "1"],
        "--method is 'lens'": ["builtin", "Hi", "--method", "lens"],
        "--trust and --method patchscopes do not go together": [
            "builtin",
            "Hi",
            "--method",
            "patchscopes",
            "--trust",
            "0.8",
        ],
        "layer 9 is out of range": ["builtin", "Hi", "--method", "logit-lens", "--layer", "9"],
    }
    for message, arguments in cases.items():
        done = legible("read", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err


@pytest.mark.parametrize(
    "method",
    [
        "probes",
        "token-lookup",
        "nearest-neighbours",
        "tuned-lens",
        "jacobian-lens",
        "reading-vectors",
        "asked",
        "k-shot",
    ],
)
def test_a_checkpoint_is_read_by_what_it_holds_or_what_a_store_taught(legible, micro_run, method, tmp_path):
    store, file = micro_run / "store" / "train", tmp_path / f"{method}.safetensors"
    weights: tuple[str, ...] = ()
    if INSTRUMENTS[method].trained:
        command = (
            "instrument",
            method,
            str(micro_run),
            str(store),
            "--rows",
            "200",
            "--out",
            str(file),
            "--threads",
            "1",
        )
        made = legible(*command, "--json")
        assert (made.code, json.loads(made.out)["layer"]) == (0, 1), made.err
        written = file.stat().st_mtime_ns
        assert legible(*command).code == 0
        assert file.stat().st_mtime_ns == written
        refused = legible("read", str(micro_run), TEXT, "--method", method)
        assert (refused.code, f"{method} needs" in refused.err, "--weights" in refused.err) == (2, True, True)
        weights = ("--weights", str(file))
    elif method != "probes":
        weights = ("--weights", str(store))
    text = "Our hero Pavel rested beside the desert. Pavel felt sad."
    done = legible("read", str(micro_run), text, "--method", method, "--positions", "-1", "--json", *weights)
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert row["layer"] == 1
    assert method != "probes" or row["claims"]
    known = {*WorldLanguage.kinds, *([None] if method == "k-shot" else [])}  # what a model writes may be no claim
    assert {claim["relation"] for claim in row["claims"]} <= known


def test_weights_of_another_model_or_kind_are_refused(legible, micro_run, tmp_path):
    files.save(
        tmp_path / "lens", "tuned_lens", {"layer": 1, "texts": 1}, {"bias": torch.zeros(3), "weight": torch.eye(3)}
    )
    cases = {
        "of layer 1 and width 3, expected layer 1 and width": ["--method", "tuned-lens"],
        "holds 'tuned_lens', expected 'jacobian_lens'": ["--method", "jacobian-lens"],
        "--weights is of an instrument": [],
    }
    for message, arguments in cases.items():
        done = legible("read", str(micro_run), TEXT, "--weights", str(tmp_path / "lens"), *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
