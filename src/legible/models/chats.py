"""Chats as their target's own template renders them."""

from collections.abc import Sequence

from jinja2 import TemplateError

from legible.errors import UsageError
from legible.models.target import Target

Turn = tuple[str, str]
"""Who speaks (system, user or assistant), and what they say."""


def rendered(target: Target, turns: Sequence[Turn], *, reply: bool = False) -> str:
    """The turns in the target's chat template.

    Args:
        target: a model that was made for chat.
        turns: from the first one on.
        reply: open the assistant's turn behind them.

    Raises:
        UsageError: no chat template, or one that refuses these turns.
    """
    if not target.tokenizer.chat_template:
        raise UsageError(
            f"{target.name} has no chat template, so it cannot be read as a chat.\n"
            "  The usual cause is a base model. Take the one that was tuned to follow instructions, or give plain text."
        )
    said = [{"role": role, "content": content} for role, content in turns]
    try:
        return str(target.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=reply))
    except TemplateError as error:
        raise UsageError(
            f"the chat template of {target.name} refuses these turns: {error}.\n"
            "  Most want user and assistant in turn, the user first."
        ) from None


def chat_text(target: Target, turns: Sequence[Turn], *, reply: bool = False) -> str:
    """The same as a text that the tokenizer reads as the template means it: without a second start token.

    Raises:
        UsageError: as `rendered`.
    """
    text, start = rendered(target, turns, reply=reply), target.tokenizer.bos_token
    if isinstance(start, str) and text.startswith(start) and target.encode(text).ids[:2] == [target.bos_id] * 2:
        return text.removeprefix(start)
    return text
