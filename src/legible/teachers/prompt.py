"""What is asked of a language model as teacher, and how its answer is read."""

import re
from dataclasses import dataclass

from legible.fileio import repaired
from legible.teachers.base import Explanation, Refusal

INSTRUCTION = """\
A language model has just read the passage below, up to its last character, and is about to go on. Describe what is \
most likely active inside it at that point: what it has kept of the text so far, what the running sentence is doing, \
and what it expects next.

Write three to five short plain statements, one sentence each, the most important first. Name people, things, topics \
and the kind of text concretely. Say what is expected to come in a few likely words. State only what the passage \
supports. Do not continue the passage, quote it at length, address anyone, number the statements or add a heading.

<passage>
{passage}
</passage>"""
LONGEST_PASSAGE = 6000
_REFUSED = re.compile(
    r"^\W*(i['’]?m sorry|sorry,|i can(no|['’])t\b|i am (unable|not able)|i['’]m (unable|not able)|as an ai\b)",
    re.IGNORECASE,
)


_THOUGHTS = r"(?:think|thinking|thought|reasoning)>"
NO_ROOM = "no answer within the length limit (legible teach: raise --max-tokens)"


@dataclass(frozen=True)
class Request:
    """What is asked about one passage. Only the passage is ever cut, at its beginning."""

    head: str
    passage: str
    tail: str
    cue: str = "Statements:"  # begins the answer of a model without a chat template
    cut_mark: str = ""  # stands where the passage's beginning is left out

    @property
    def form(self) -> str:
        """The request without its passage: with the passage, the key of its answer."""
        return f"{self.head}{{passage}}{self.tail}"

    def shown(self, longest: int = LONGEST_PASSAGE) -> str:
        """The whole prompt, with at most the last `longest` characters of the passage."""
        cut = self.cut_mark if len(self.passage) > longest else ""
        return f"{self.head}{cut}{self.passage[-longest:]}{self.tail}"


def ask(passage: str) -> Request:
    """The teacher's request about a passage."""
    head, tail = INSTRUCTION.split("{passage}")
    return Request(head, passage, tail)


def spoken(text: str) -> str:
    """What a model says beside its thoughts: after the last closed block of them, before one that stays open."""
    after = re.split(f"</{_THOUGHTS}", text, flags=re.IGNORECASE)[-1]
    return re.split(f"<{_THOUGHTS}", after, flags=re.IGNORECASE)[0]


def read_answer(text: str | None, *, cut: bool = False) -> Explanation | Refusal:
    """A model's answer as an explanation, or why it is none.

    Args:
        text: the answer, None where the service sent none.
        cut: the answer hit its length limit, so its last sentence is unfinished and dropped.
    """
    said = spoken(repaired(text or ""))
    plain = " ".join(said.replace("<explanation>", " ").replace("</explanation>", " ").split())
    if not plain and cut:
        return Refusal(NO_ROOM, answered=False)
    if not plain:
        return Refusal("empty answer" if not (text or "").strip() else "thoughts without an answer")
    if _REFUSED.match(plain):
        return Refusal("refused in words")
    if cut:
        whole = re.match(r".*[.!?](?=\s|$)", plain)
        return Explanation(whole.group()) if whole else Refusal("cut off")
    return Explanation(plain)
