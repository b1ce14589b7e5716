"""Prompts of verbalizer and reconstructor, and the explanation inside a completion.

Our own prompts are ids around one place: no marker token, no chat template, no tags. Released checkpoints bring
their template, a marker and `<explanation>` tags; those are rendered once, split at the marker and checked against
the neighbours that their contract promises.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from legible.errors import ContractError
from legible.injection import find_marker

_TAGGED = re.compile(r"<explanation>(.*?)</explanation>", re.DOTALL)


@dataclass(frozen=True)
class VerbalizerPrompt:
    """Token ids around the vector's place, and what ends a completion.

    prefix_ids, placeholder_id, suffix_ids: the prompt; the vector stands at `position`, where the placeholder's id is.
    stop_ids: any of these ends a completion; training teaches the first.
    banned_ids: never sampled and given no probability.
    tags: completions wrap the explanation in `<explanation>` tags.
    """

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]
    tags: bool
    placeholder_id: int

    @property
    def position(self) -> int:
        """Index of the vector's place in `ids`."""
        return len(self.prefix_ids)

    @property
    def ids(self) -> tuple[int, ...]:
        """The whole prompt, the placeholder included."""
        return (*self.prefix_ids, self.placeholder_id, *self.suffix_ids)


@dataclass(frozen=True)
class ReconstructorPrompt:
    """What stands before and after an explanation; the vector is read at the last id.

    prefix_ids, suffix_ids: put around the explanation's own ids. An empty suffix reads at the explanation's last token.
    template: raw text of a released checkpoint, tokenized as a whole, since a border may merge (`.` and `</` are one
        token in some vocabularies); the ids above are then empty.
    special_tokens: whether the template is read with the special tokens that the tokenizer adds (a start token first).
    """

    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    template: str | None = None
    special_tokens: bool = True


def plain_verbalizer_prompt(tokenizer: PreTrainedTokenizerBase) -> VerbalizerPrompt:
    """Our own prompt: a start token, the vector, the start token again; the end-of-text token stops.

    Raises:
        ContractError: the tokenizer has no end-of-text token, so nothing could stop a completion.
    """
    stop = _end_id(tokenizer)
    start = _start_id(tokenizer)
    return VerbalizerPrompt((start,), (start,), (stop,), _banned(tokenizer, (stop,)), tags=False, placeholder_id=start)


def plain_reconstructor_prompt(tokenizer: PreTrainedTokenizerBase) -> ReconstructorPrompt:
    """Our own prompt: a start token, the explanation, the end-of-text token, where the vector is read.

    Raises:
        ContractError: the tokenizer has no end-of-text token.
    """
    return ReconstructorPrompt((_start_id(tokenizer),), (_end_id(tokenizer),))


def chat_verbalizer_prompt(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    injection_char: str,
    injection_token_id: int,
    left: int,
    right: int,
) -> VerbalizerPrompt:
    """The prompt of a released checkpoint: its template in one user turn, split at the marker.

    Args:
        template: the text of the contract, holding `{injection_char}`.
        injection_char, injection_token_id: the marker and the one id it must encode to.
        left, right: ids beside the marker in the rendered prompt.

    Raises:
        ContractError: the tokenizer has no chat template or splits the marker, or the template has no place for it.
        InjectionError: the rendered prompt does not hold the marker exactly once between its neighbours.
    """
    _check_marker(tokenizer, injection_char, injection_token_id)
    if template.count("{injection_char}") != 1:
        raise ContractError(
            f"the verbalizer's template holds {{injection_char}} {template.count('{injection_char}')} times, "
            "expected 1.\n"
            "  Copy the template of the checkpoint's nla_meta.yaml unchanged."
        )
    content = template.replace("{injection_char}", injection_char)
    ids = _render(tokenizer, [{"role": "user", "content": content}], True)
    position = int(find_marker(torch.tensor([ids]), injection_token_id, left, right)[0])
    stop_ids = _turn_ends(tokenizer)
    banned = _banned(tokenizer, stop_ids, (injection_token_id,))
    return VerbalizerPrompt(
        tuple(ids[:position]),
        tuple(ids[position + 1 :]),
        stop_ids,
        banned,
        tags=True,
        placeholder_id=injection_token_id,
    )


def template_reconstructor_prompt(
    tokenizer: PreTrainedTokenizerBase, template: str, suffix_ids: Sequence[int] = (), *, special_tokens: bool = True
) -> ReconstructorPrompt:
    """The prompt of a released reconstructor: raw text around `{explanation}`.

    Args:
        template: the text of the contract, holding `{explanation}`.
        suffix_ids: the contract's last ids of a rendered prompt; empty skips that comparison.
        special_tokens: read with a start token, where the tokenizer has one (EasyNLA's adapters: without).

    Raises:
        ContractError: the template has no place for the explanation, or renders to another ending than promised.
    """
    before, found, after = template.partition("{explanation}")
    if not found:
        raise ContractError(
            "the reconstructor's template holds no {explanation}.\n  Copy it from nla_meta.yaml unchanged."
        )
    rendered = list(tokenizer(f"{before}x{after}", add_special_tokens=special_tokens)["input_ids"])
    if suffix_ids and rendered[-len(suffix_ids) :] != list(suffix_ids):
        raise ContractError(
            f"the reconstructor's prompt ends in {rendered[-len(suffix_ids) :]}, its contract promises "
            f"{list(suffix_ids)}.\n"
            "  The usual cause is another tokenizer.\n  `legible contract check CHECKPOINT`"
        )
    return ReconstructorPrompt(template=template, special_tokens=special_tokens)


def explanation_ids(
    tokenizer: PreTrainedTokenizerBase, explanations: Sequence[str], prompt: ReconstructorPrompt
) -> list[list[int]]:
    """Ids of explanations as a reconstructor reads them: bare, or inside the template."""
    if prompt.template is None:
        return [list(ids) for ids in tokenizer(list(explanations), add_special_tokens=False)["input_ids"]]
    rendered = [prompt.template.replace("{explanation}", text) for text in explanations]
    return [list(ids) for ids in tokenizer(rendered, add_special_tokens=prompt.special_tokens)["input_ids"]]


def wrap_explanation(text: str, tags: bool) -> str:
    """The completion that states an explanation: the text itself, or the text between tags on separate lines."""
    return f"<explanation>\n{text.strip()}\n</explanation>" if tags else text.strip()


def parse_explanation(text: str, tags: bool, *, stopped: bool = True) -> str | None:
    """The explanation inside a completion, stripped; None is a failed parse.

    Args:
        text: the decoded completion without its stop token.
        tags: whether the payload stands between tags; a missing close tag fails.
        stopped: whether the completion ended by a stop token; without tags an unfinished one fails.
    """
    if tags:
        match = _TAGGED.search(text)
        payload = match.group(1).strip() if match else ""
    else:
        payload = text.strip() if stopped else ""
    return payload or None


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], prompt: VerbalizerPrompt, max_tokens: int
) -> list[list[int]]:
    """Ids of the completions that state `texts`, what SFT teaches: at most `max_tokens` of each, the stop token last.

    A text that needs a banned token (an unknown character of a small tokenizer, say) gives no ids at all: no
    verbalizer could write it.
    """
    wrapped = [wrap_explanation(text, prompt.tags) for text in texts]
    encoded: list[list[int]] = tokenizer(wrapped, add_special_tokens=False)["input_ids"]
    banned = set(prompt.banned_ids)
    return [[] if banned & set(ids) else [*ids, prompt.stop_ids[0]][:max_tokens] for ids in encoded]


def _end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise ContractError(
            "the tokenizer has no end-of-text token, so no completion could stop.\n"
            "  Set `eos_token` in the target's tokenizer_config.json to a token that its texts do not use."
        )
    return int(tokenizer.eos_token_id)


def _start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return _end_id(tokenizer) if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)


def _banned(tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int], more: Sequence[int] = ()) -> tuple[int, ...]:
    """Special ids that no explanation holds; the unknown token stays, since a teacher's text may hold it."""
    special = set(tokenizer.all_special_ids) | set(more)
    return tuple(sorted(special - set(stop_ids) - {tokenizer.unk_token_id}))


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], generation_prompt: bool) -> list[int]:
    if not tokenizer.chat_template:
        raise ContractError(
            "the tokenizer has no chat template, but this checkpoint's prompt is a chat.\n"
            "  The usual cause is a base model's tokenizer beside an instruction-tuned verbalizer."
        )
    rendered: Any = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=generation_prompt, return_dict=True
    )
    return [int(i) for i in rendered["input_ids"]]


def _turn_ends(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The special token that the chat template puts after an assistant's turn, then end-of-text."""
    ask, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    opened = _render(tokenizer, [ask], True)
    whole = _render(tokenizer, [ask, answer], False)
    special = set(tokenizer.all_special_ids)
    after = [i for i in whole[len(opened) :] if i in special][:1]
    return tuple(dict.fromkeys([*after, _end_id(tokenizer)]))


def _check_marker(tokenizer: PreTrainedTokenizerBase, char: str, token_id: int) -> None:
    ids = list(tokenizer(char, add_special_tokens=False)["input_ids"])
    if ids != [token_id]:
        raise ContractError(
            f"the tokenizer splits the marker {char!r} into {ids}, the contract promises the one id {token_id}.\n"
            "  The usual cause is a tokenizer of another model.\n  `legible contract check CHECKPOINT`"
        )
