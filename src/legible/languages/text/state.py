"""What a text shows of itself up to a token: what is open (quotations, lists, questions ...), who speaks in a chat.

Rules on characters, for a text that may break off anywhere. A *quotation* runs from a quotation mark to the next one or
to the end of the paragraph, a *bracket* likewise. A *list* is open in a line that begins with a bullet or a number;
*code* after an odd number of fences, or of backticks in a line. A *question* is open in a sentence that begins as
questions do ("what is", "do you"), whatever mark ends it.
"""

import re

from legible.languages.surface import last_chunks, plain
from legible.languages.text.english import LAST

_FENCE = re.compile(r"^\s*```", re.MULTILINE)
ITEM = re.compile(r"[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+")
_AUXILIARY = r"(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|may|might|shall|am)"
_PRONOUN = r"(?:I|you|he|she|it|we|they|there|this|that|these|those|the|a|an|my|your|his|her|its|our|their)"
_QUESTION = re.compile(
    rf"\W*(?:(?:and|but|so|then|well|ok|okay)\b,? )?(?:(?:what|who|where|when|why|how|which|whom|whose)(?:'s|’s)"
    rf"|(?:what|who|where|when|why|how|whom)(?: (?:\w+ ){{0,2}})?\b{_AUXILIARY}\b"
    rf"|(?:what|which|whose|how many|how much)(?: \w+){{1,3}} {_AUXILIARY}\b|{_AUXILIARY}(?:n't|n’t)? {_PRONOUN}\b)",
    re.IGNORECASE,
)
_NO_QUESTION = re.compile(r"\W*(?:when|where|what|who|how|why) (?:I|you|he|she|it|we|they|the|a|an)\b", re.I)
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?]+[\"”'’)]*(?=\s|$)|\n|(?<=\s)[\"“]")
_MARKUP = re.compile(r"<[|\w][^<>\n]{0,40}>")
_ROLES = {"model": "assistant", "bot": "assistant", "ai": "assistant", "human": "user", "assistant": "assistant",
          "user": "user", "system": "system", "tool": "tool"}  # fmt: skip
_TURN = re.compile(
    r"<\|im_start\|>(?P<chatml>\w+)\n|<start_of_turn>(?P<gemma>\w+)\n"
    r"|<\|start_header_id\|>(?P<llama>\w+)<\|end_header_id\|>|<\|(?P<zephyr>user|assistant|system)\|>"
    r"|(?P<inst>\[INST\])|(?P<answer>\[/INST\])|(?:^|\n)(?P<plain>User|Human|Assistant|AI|System): "
)
_TURN_END = re.compile(r"<\|im_end\|>|<end_of_turn>|<\|eot_id\|>|<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>")


def state(prefix: str) -> dict[str, str]:
    """The value of every kind that the text up to the token decides.

    Args:
        prefix: the text up to and including the token.
    """
    paragraph = prefix[prefix.rfind("\n\n" if "\n\n" in prefix else "\n") + 1 :]
    line = prefix[prefix.rfind("\n") + 1 :]
    inside = {
        "in_quote": _in_quote(paragraph),
        "in_bracket": _in_bracket(paragraph),
        "in_list": ITEM.match(line) is not None,
        "in_code": in_code(prefix),
        "in_question": in_question(prefix),
    }
    words = [shown(plain(chunk)) for chunk in last_chunks(prefix, len(LAST))][::-1]
    return {
        "speaker": speaker(prefix),
        **{kind: "yes" if held else "no" for kind, held in inside.items()},
        **{kind: word for kind, word in zip(LAST, words, strict=False) if word},
    }


def shown(words: str) -> str:
    """Words as they stand in quotation marks: without line breaks and without such marks of their own."""
    return " ".join(re.sub(r'["“”]', "''", words).split())


def speaker(prefix: str) -> str:
    """Who speaks at the end of a chat: user, assistant, system or tool; nobody outside of turns and chats."""
    turn = next(reversed(list(_TURN.finditer(prefix))), None)
    if turn is None or _TURN_END.search(prefix, turn.end()):
        return "nobody"
    role = next((name, said) for name, said in turn.groupdict().items() if said is not None)
    if role[0] in ("inst", "answer"):
        return "user" if role[0] == "inst" else "assistant"
    return _ROLES.get(role[1].lower(), "nobody")


def prompt_ends(text: str) -> list[int]:
    """The characters behind the prompts of a chat: where the assistant begins to speak."""
    return [turn.end() for turn in _TURN.finditer(text) if speaker(text[: turn.end()]) == "assistant"]


def in_code(prefix: str) -> bool:
    """Whether a fence, or a backtick of the running line, is open."""
    if len(_FENCE.findall(prefix)) % 2:
        return True
    line = prefix[prefix.rfind("\n") + 1 :]
    return not line.lstrip().startswith("```") and line.count("`") % 2 == 1


def running_sentence(prefix: str) -> str:
    """The words since the last sentence was over or a quotation began; empty where the text ends with such an end."""
    start = 0
    for end in _SENTENCE_END.finditer(prefix[-600:]):
        start = end.end()
    return _MARKUP.sub(" ", prefix[-600:][start:]).strip()


def in_question(prefix: str) -> bool:
    """Whether the running sentence began as a question does."""
    sentence = running_sentence(prefix)
    return _QUESTION.match(sentence) is not None and _NO_QUESTION.match(sentence) is None


def _in_quote(paragraph: str) -> bool:
    inside = False
    for mark in re.findall(r'["“”]', paragraph):
        inside = mark == "“" or (mark == '"' and not inside)
    return inside


def _in_bracket(paragraph: str) -> bool:
    open_ones: list[str] = []
    for mark in re.findall(r"[()\[\]{}]", _MARKUP.sub(" ", paragraph)):
        if mark in "([{":
            open_ones.append(mark)
        elif open_ones and open_ones[-1] == {")": "(", "]": "[", "}": "{"}[mark]:
            open_ones.pop()
    return bool(open_ones)
