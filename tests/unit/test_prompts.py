"""Prompts by ids, prompts of released checkpoints, and the explanation inside a completion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from legible.errors import ContractError, InjectionError
from legible.prompts import (
    chat_verbalizer_prompt,
    completion_ids,
    explanation_ids,
    parse_explanation,
    plain_reconstructor_prompt,
    plain_verbalizer_prompt,
    template_reconstructor_prompt,
    wrap_explanation,
)

SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<turn>", "<end>"]
TEMPLATE = "Explain <concept>{injection_char}</concept> in words."
CHAT = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m['role'] }}: {{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant: {% endif %}"
)


def characters(*, bos: bool = True, eos: bool = True, chat: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters, so that every id can be checked by eye."""
    vocab = {piece: i for i, piece in enumerate([*SPECIALS, *(chr(c) for c in range(32, 127)), "\n", "㊗"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "additional_special_tokens": ["<turn>", "<end>"]}
    names |= {"bos_token": "<s>"} if bos else {}
    names |= {"eos_token": "</s>"} if eos else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)
    fast.chat_template = CHAT if chat else None
    return fast


def one(tokenizer: PreTrainedTokenizerFast, char: str) -> int:
    return tokenizer.convert_tokens_to_ids(char)


def chat_prompt(tokenizer: PreTrainedTokenizerFast, **changes: object):
    fields = {
        "template": TEMPLATE,
        "injection_char": "㊗",
        "injection_token_id": one(tokenizer, "㊗"),
        "left": one(tokenizer, ">"),
        "right": one(tokenizer, "<"),
    }
    return chat_verbalizer_prompt(tokenizer, **{**fields, **changes})


def test_the_plain_prompt_has_one_place_and_stops_at_end_of_text():
    tokenizer = characters()
    prompt = plain_verbalizer_prompt(tokenizer)
    assert prompt.ids[prompt.position] == prompt.placeholder_id
    assert prompt.ids == (*prompt.prefix_ids, prompt.placeholder_id, *prompt.suffix_ids)
    assert prompt.stop_ids == (tokenizer.eos_token_id,)
    assert not prompt.tags


def test_banned_tokens_are_the_special_ones_that_no_text_holds():
    tokenizer = characters()
    banned = plain_verbalizer_prompt(tokenizer).banned_ids
    assert {tokenizer.bos_token_id, tokenizer.pad_token_id} <= set(banned)
    assert tokenizer.eos_token_id not in banned
    assert tokenizer.unk_token_id not in banned


def test_without_a_start_token_the_end_token_starts():
    tokenizer = characters(bos=False)
    assert plain_verbalizer_prompt(tokenizer).prefix_ids == (tokenizer.eos_token_id,)
    assert plain_reconstructor_prompt(tokenizer).prefix_ids == (tokenizer.eos_token_id,)


@pytest.mark.parametrize("make", [plain_verbalizer_prompt, plain_reconstructor_prompt])
def test_a_tokenizer_without_an_end_token_is_refused(make):
    with pytest.raises(ContractError, match="no end-of-text token"):
        make(characters(eos=False))


def test_a_chat_prompt_is_the_template_rendered_once():
    tokenizer = characters()
    prompt = chat_prompt(tokenizer)
    text = "<s><turn>user: Explain <concept>㊗</concept> in words.<end><turn>assistant: "
    assert tokenizer.decode(prompt.ids) == text
    assert prompt.ids.count(tokenizer.bos_token_id) == 1  # a second one would shift everything
    assert tokenizer.decode(prompt.prefix_ids).endswith("<concept>")
    assert prompt.tags


def test_a_chat_prompt_stops_at_the_end_of_the_turn_and_bans_the_marker():
    tokenizer = characters()
    prompt = chat_prompt(tokenizer)
    assert prompt.stop_ids == (one(tokenizer, "<end>"), tokenizer.eos_token_id)
    assert one(tokenizer, "㊗") in prompt.banned_ids


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"injection_char": "ab"}, ContractError, "splits the marker 'ab'"),
        ({"injection_token_id": 7}, ContractError, "promises the one id 7"),
        ({"template": "no place"}, ContractError, "0 times, expected 1"),
        ({"template": "{injection_char}{injection_char}"}, ContractError, "2 times, expected 1"),
        ({"template": "㊗ and {injection_char}"}, InjectionError, "holds the marker token .* 2 times"),
        ({"left": 9}, InjectionError, "beside the marker, expected 9"),
    ],
)
def test_a_prompt_that_breaks_its_contract_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        chat_prompt(characters(), **changes)


def test_a_tokenizer_without_a_chat_template_is_refused():
    with pytest.raises(ContractError, match="no chat template"):
        chat_prompt(characters(chat=False))


def test_a_template_reconstructor_keeps_the_special_tokens_and_its_suffix():
    tokenizer = characters()
    template = "<text>{explanation}</text> <summary>"
    suffix = tokenizer("</text> <summary>", add_special_tokens=False)["input_ids"]
    prompt = template_reconstructor_prompt(tokenizer, template, suffix[-3:])
    (ids,) = explanation_ids(tokenizer, ["{a} b"], prompt)
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-len(suffix) :] == suffix
    assert tokenizer.decode(ids) == "<s><text>{a} b</text> <summary>"


def test_our_own_reconstructor_reads_the_bare_ids():
    tokenizer = characters()
    (ids,) = explanation_ids(tokenizer, ["a b"], plain_reconstructor_prompt(tokenizer))
    assert ids == [one(tokenizer, c) for c in "a b"]


@pytest.mark.parametrize(
    ("template", "suffix", "message"),
    [("no place", (), "holds no {explanation}"), ("a{explanation}b", (5, 5), r"its contract promises \[5, 5\]")],
)
def test_a_reconstructor_template_that_breaks_its_contract_is_refused(template, suffix, message):
    with pytest.raises(ContractError, match=message):
        template_reconstructor_prompt(characters(), template, suffix)


@given(text=st.text(st.characters(exclude_categories=("Cs",))), tags=st.booleans())
def test_parsing_undoes_wrapping(text, tags):
    if "explanation>" not in text:
        assert parse_explanation(wrap_explanation(text, tags), tags) == (text.strip() or None)


@pytest.mark.parametrize(
    ("completion", "tags", "stopped", "payload"),
    [
        ("so <explanation>\n one\ntwo </explanation> more", True, True, "one\ntwo"),
        ("<explanation>a</explanation><explanation>b</explanation>", True, True, "a"),
        ("<explanation>a</explanation> and on", True, False, "a"),
        ("<explanation>never closed", True, True, None),
        ("<explanation>  </explanation>", True, True, None),
        (" plain text ", False, True, "plain text"),
        ("plain text cut", False, False, None),
        ("  ", False, True, None),
    ],
)
def test_the_payload_of_a_completion(completion, tags, stopped, payload):
    assert parse_explanation(completion, tags, stopped=stopped) == payload


def test_what_sft_teaches_ends_in_the_stop_token_and_decodes_to_the_text():
    tokenizer = characters()
    for prompt in (plain_verbalizer_prompt(tokenizer), chat_prompt(tokenizer)):
        ids, cut = completion_ids(tokenizer, ["it rains", "it rained for days"], prompt, 40)
        assert ids[-1] == prompt.stop_ids[0]
        assert parse_explanation(tokenizer.decode(ids[:-1]), prompt.tags) == "it rains"
        assert completion_ids(tokenizer, ["it rained for days"], prompt, 5) == [cut[:5]]
        unwritable = tokenizer.decode(prompt.banned_ids[:1])
        assert completion_ids(tokenizer, [f"it {unwritable}"], prompt, 40) == [[]]
