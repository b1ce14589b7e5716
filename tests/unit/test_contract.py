"""Contracts: every spelling is read, the newest is written, and what does not fit is told with its remedy."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from legible.contract import (
    InjectionRecord,
    LegibleExtra,
    ModelContract,
    PromptIds,
    PromptRecord,
    Scales,
    TargetRecord,
    Templates,
    Tokens,
    VarianceRecord,
    check_contract,
    check_tokens,
    ensure_contract,
    git_commit,
    read_contract,
    resolve_scale,
    write_contract,
)
from legible.errors import ContractError

AV_TEMPLATE = "say <v> {injection_char} </v> now"
AR_TEMPLATE = "text : {explanation} </t> sum"
VOCABULARY = ["<unk>", "<s>", "</s>", "#", "<v>", "</v>", "say", "now", "text", ":", "a", "</t>", "sum", "user", "bot"]
CHAT = "{% for m in messages %}user {{ m.content }}{% endfor %}{% if add_generation_prompt %} bot{% endif %}"


@pytest.fixture
def tokenizer():
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = CHAT
    return fast


def sidecar(role: str = "av", **changes: object) -> dict[str, object]:
    tokens = {"injection_char": "#", "injection_token_id": 3, "injection_left_neighbor_id": 4}
    return {
        "kind": "nla_model",
        "schema_version": 2,
        "role": role,
        "d_model": 8,
        "extraction": {"injection_scale": 150.0 if role == "av" else None, "mse_scale": 2.5},
        "tokens": {**tokens, "injection_right_neighbor_id": 5, "critic_suffix_ids": [11, 12]},
        "prompt_templates": {"av": AV_TEMPLATE, "ar": AR_TEMPLATE},
    } | changes


def save(folder: Path, data: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nla_meta.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return folder


def whole_role(folder: Path, role: str, blocks: int = 3, **changes: object) -> Path:
    save(folder, sidecar(role, **({"extraction_layer_index": 2} | changes)))
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "num_hidden_layers": blocks}))
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    if role == "ar":
        save_file({"weight": torch.eye(8)}, folder / "value_head.safetensors")
    return folder


@pytest.mark.parametrize(
    "spelling",
    [
        {"extraction_layer_index": 20},
        {"critic": {"extraction_layer_index": 20}},
        {"critic": {"num_hidden_layers": 20}},
        {"ar": {"num_hidden_layers": 20}},
        {"ar": {"extraction_layer_index": 20}},
        {"critic": {"extraction_layer_index": 20, "num_hidden_layers": 20}},
        {"critic": {"extraction_layer_index": 20, "num_hidden_layers": 21}, "extraction_layer_index": 20},
    ],
)
@pytest.mark.parametrize("role", ["ar", "critic"])
@pytest.mark.parametrize("names", [("av", "ar"), ("actor", "critic")])
def test_every_spelling_gives_the_same_contract(tmp_path, spelling, role, names):
    templates = dict(zip(names, (AV_TEMPLATE, AR_TEMPLATE), strict=True))
    found = read_contract(save(tmp_path, sidecar("ar", prompt_templates=templates, **spelling) | {"role": role}))
    assert isinstance(found, ModelContract)
    assert (found.role, found.layer) == ("ar", 20)
    assert (found.prompt_templates.av, found.prompt_templates.ar) == (AV_TEMPLATE, AR_TEMPLATE)


def test_what_is_written_is_read_back_by_new_and_old_readers(tmp_path):
    extra = LegibleExtra(
        injection=InjectionRecord(mode="add", block=1),
        variance=VarianceRecord(value=0.6, n=1000, split="train", positions="8 a document, from 20"),
        target=TargetRecord(id="org/model", revision="abc", sha256="00"),
        layer=2,
        prompt=PromptRecord(av=PromptIds(prefix_ids=[1], suffix_ids=[7], stop_ids=[2], placeholder_id=1)),
        bos=True,
        language="world",
        metrics={"fve": {"value": 0.8, "n": 10}},
        seed=3,
        commit="c0ffee",
    )
    contract = ModelContract(
        role="ar", d_model=8, extraction_layer_index=2, extraction=Scales(injection_scale=None), legible=extra,
        prompt_templates=Templates(av=AV_TEMPLATE, ar=AR_TEMPLATE),
    )  # fmt: skip
    path = write_contract(tmp_path, contract)
    assert read_contract(tmp_path) == read_contract(path) == contract
    old = yaml.safe_load(path.read_text())
    assert old["critic"] == {"extraction_layer_index": 2, "num_hidden_layers": 2}
    assert old["prompt_templates"] == {
        "av": AV_TEMPLATE,
        "ar": AR_TEMPLATE,
        "actor": AV_TEMPLATE,
        "critic": AR_TEMPLATE,
    }
    assert old["extraction"] == {"injection_scale": None, "mse_scale": "sqrt_d_model"}


def test_keys_of_other_tools_are_kept(tmp_path):
    found = read_contract(save(tmp_path, sidecar(trained_by="someone", tokens={**sidecar()["tokens"], "more": 1})))
    data = yaml.safe_load(write_contract(tmp_path, found).read_text())
    assert data["trained_by"] == "someone"
    assert data["tokens"]["more"] == 1


def test_scales():
    assert resolve_scale("sqrt_d_model", 16) == 4.0
    assert resolve_scale(150.0, 16) == 150.0
    assert resolve_scale(None, 16) is None
    assert Scales.model_validate({"injection_scale": "raw"}).injection_scale is None
    assert Scales.model_validate({"injection_scale": 1}).mse_scale == "sqrt_d_model"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sidecar(extraction={"mse_scale": 1.0}), r"extraction\.injection_scale is absent and has no default"),
        (sidecar(extraction={"injection_scale": "big"}), r"extraction\.injection_scale"),
        (sidecar("judge"), r"role: .*'av' or 'ar'"),
        (sidecar(kind="other"), r"kind 'other', expected nla_model or nla_dataset"),
        (sidecar(schema_version=9), r"schema_version"),
        (sidecar(legible={"sede": 1}), r"legible\.sede: Extra inputs are not permitted"),
        (
            sidecar(extraction_layer_index=20, critic={"num_hidden_layers": 19}),
            "the layer is given as extraction_layer_index 20, num_hidden_layers 19",
        ),
        (sidecar(extraction_layer_index=20, critic={"extraction_layer_index": 21}), "extraction_layer_index 20, extr"),
        ("text", r"kind None"),
    ],
)
def test_a_broken_sidecar_is_told_by_its_field(tmp_path, data, message):
    with pytest.raises(ContractError, match=message):
        read_contract(save(tmp_path, data))


def test_no_sidecar_and_no_yaml_are_told(tmp_path):
    with pytest.raises(ContractError, match="no contract at"):
        read_contract(tmp_path)
    (tmp_path / "nla_meta.yaml").write_text("a: [1")
    with pytest.raises(ContractError, match="is not YAML"):
        read_contract(tmp_path)


def test_a_whole_checkpoint_has_no_problems(tmp_path, tokenizer):
    whole_role(tmp_path / "av", "av")
    whole_role(tmp_path / "ar", "ar")
    assert check_contract(tmp_path, tokenizer) == []
    tokenizer.save_pretrained(tmp_path / "av")
    tokenizer.save_pretrained(tmp_path / "ar")
    assert check_contract(tmp_path) == []  # by its own tokenizers


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"injection_token_id": 4}, "the tokenizer encodes the marker '#' as [3]"),
        ({"injection_char": "##"}, "the tokenizer encodes the marker '##' as [0]"),
        ({"injection_left_neighbor_id": 6}, "the marker's neighbours are (4, 5)"),
        ({"critic_suffix_ids": [12, 11]}, "the reconstructor's prompt ends in [11, 12]"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_told(tmp_path, tokenizer, changes, what):
    folder = whole_role(tmp_path, "av", tokens=sidecar()["tokens"] | changes)
    assert [problem.what for problem in check_contract(folder, tokenizer)] == [what]
    contract = read_contract(folder)
    assert isinstance(contract, ModelContract)
    with pytest.raises(ContractError, match="does not fit the live model"):
        ensure_contract(contract, tokenizer=tokenizer, d_model=8, where=folder)


@pytest.mark.parametrize(
    ("template", "what"), [("no place", "{injection_char} 0 times"), ("{injection_char} {injection_char}", "2 times")]
)
def test_a_template_without_one_place_is_told(tmp_path, tokenizer, template, what):
    folder = whole_role(tmp_path, "av", prompt_templates={"av": template})
    problems = check_contract(folder, tokenizer)
    assert len(problems) == 1
    assert what in problems[0].what


def test_a_marker_elsewhere_in_the_prompt_is_told(tmp_path, tokenizer):
    tokenizer.chat_template = "# " + CHAT
    problems = check_contract(whole_role(tmp_path, "av"), tokenizer)
    assert [problem.what for problem in problems] == ["the rendered prompt holds the marker at [0, 4]"]
    tokenizer.chat_template = None
    assert "no chat template" in check_contract(tmp_path, tokenizer)[0].what


def test_our_prompt_ids_must_be_in_the_vocabulary(tokenizer):
    prompt = PromptRecord(ar=PromptIds(prefix_ids=[1], suffix_ids=[99]))
    contract = ModelContract(
        role="ar", d_model=8, extraction=Scales(injection_scale=None), legible=LegibleExtra(prompt=prompt)
    )
    assert [problem.what for problem in check_tokens(contract, tokenizer)] == ["legible.prompt.ar uses token 99"]


def test_a_contract_from_another_model_is_refused(tmp_path, tokenizer):
    contract = read_contract(save(tmp_path, sidecar()))
    assert isinstance(contract, ModelContract)
    ensure_contract(contract, tokenizer=tokenizer, d_model=8, where="run")
    with pytest.raises(ContractError, match=r"d_model 8: expected 16, the model's"):
        ensure_contract(contract, tokenizer=tokenizer, d_model=16, where="run")


def test_a_folder_that_does_not_keep_its_promises_is_told(tmp_path):
    ar = whole_role(tmp_path / "ar", "ar", blocks=2)
    assert ["keeps 2 blocks" in problem.what for problem in check_contract(ar)] == [True]
    save_file({"weight": torch.eye(4), "bias": torch.zeros(4)}, ar / "value_head.safetensors")
    assert "value_head.safetensors holds" in check_contract(ar)[1].what
    (ar / "value_head.safetensors").unlink()
    assert "no value_head" in check_contract(ar)[1].what
    av = whole_role(tmp_path / "av", "av", d_model=16)
    assert [problem.what for problem in check_contract(av)] == ["config.json has width 8"]
    (av / "model.safetensors").rename(av / "pytorch_model.bin")
    assert "pytorch_model.bin" in check_contract(av)[0].what
    save(av, sidecar(extraction={"injection_scale": -1.0}))
    assert "injection_scale -1.0" in check_contract(av)[0].what


def test_broken_files_of_a_role_are_told(tmp_path):
    ar = whole_role(tmp_path / "ar", "ar")
    (ar / "value_head.safetensors").write_bytes(b"version https://git-lfs")
    assert "value_head.safetensors holds no tensors" in check_contract(ar)[0].what
    (ar / "tokenizer_config.json").write_text("{}")
    (ar / "tokenizer.json").write_text('{"model": {"type": "Zzz"}}')
    assert "the tokenizer in ar/ cannot be loaded" in check_contract(ar)[-1].what
    for text in ("{", "[]"):
        (ar / "config.json").write_text(text)
        assert "ar/config.json is no JSON object" in check_contract(ar)[0].what


def test_roles_that_do_not_belong_together_are_told(tmp_path):
    whole_role(tmp_path / "av", "av", extraction_layer_index=1)
    assert [problem.what for problem in check_contract(tmp_path)] == [f"{tmp_path} has one role"]
    whole_role(tmp_path / "ar", "ar")
    assert [problem.what for problem in check_contract(tmp_path)] == ["layer 1 in av/, 2 in ar/"]


def test_nothing_there_is_a_problem_not_a_traceback(tmp_path):
    problems = check_contract(tmp_path / "nowhere")
    assert len(problems) == 1
    assert "no contract at" in problems[0].what


def test_the_commit_is_a_hash_or_unknown():
    assert git_commit() == "unknown" or len(git_commit()) == 40


def test_tokens_of_a_dataset_need_the_marker():
    with pytest.raises(ValueError, match="injection_token_id"):
        Tokens.model_validate({"injection_char": "#"})


@pytest.mark.parametrize(("blocks", "fits"), [(21, True), (20, True), (22, False), (19, False)])
def test_a_num_hidden_layers_that_stands_alone_is_k_or_counts_the_blocks_as_config_json_does(tmp_path, blocks, fits):
    folder = whole_role(
        tmp_path, "ar", blocks, extraction_layer_index=None, critic={"num_hidden_layers": 20}, schema_version=1
    )
    found = read_contract(folder)
    assert found.layer == 20
    assert found.may_mean(blocks - 1) is fits
    assert [problem.what for problem in check_contract(folder)] == (
        [] if fits else [f"the reconstructor keeps {blocks} blocks"]
    )


def test_the_target_that_a_released_sidecar_names_is_kept(tmp_path):
    found = read_contract(save(tmp_path, sidecar(base_checkpoint="org/model")))
    assert found.base_checkpoint == "org/model"
    assert yaml.safe_load(write_contract(tmp_path, found).read_text())["base_checkpoint"] == "org/model"
