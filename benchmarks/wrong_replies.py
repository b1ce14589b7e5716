"""Ten prompts that a chat model answers wrongly: does a reading follow the model, or what is so?

The rule: the questions of one relation ("What is the capital of X?"), in the order of its file; the first `--cases`
whose greedy reply does not hold the right answer. Each is read at the prompt's end and on the way through the reply,
as `legible demo` reads a chat. What a reading says comes next or is about to be said is held against what the model
then said; beside it stands whether any reading names the right answer, or a word of the wrong one before it is said.

    python benchmarks/wrong_replies.py --checkpoint smollm2 --relations relations.zip --markdown wrong_replies.md
"""

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.table import conclude, markdown

from legible.models.chats import chat_text
from legible.reading.opening import load_checkpoint
from legible.reading.reader import Reader
from legible.recipes.chat_demo import ChatDemonstration, answered, demonstrate_chat
from legible.recipes.inputs import use_threads

COLUMNS = ("prompt", "right", "the model's reply", "read at the prompt's end", "next and ahead: true of the reply",
           "names the right answer", "names the reply's before it is said")  # fmt: skip
AHEAD = ("next", "ahead")
DECIDED = ("true", "false", "open")


@dataclass(frozen=True)
class Case:
    """A question that the model answers wrongly."""

    question: str
    right: str
    seen: ChatDemonstration


def questions(path: Path, relation: str, question: str) -> Iterator[tuple[str, str]]:
    """Question and right answer, in the order of the file."""
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(f"/{relation}.json")]
        for sample in json.loads(archive.read(name))["samples"]:
            plain = [json.loads(f'"{sample[key]}"') for key in ("subject", "object")]  # some are escaped twice
            yield question.format(plain[0]), plain[1]


def wrong(reader: Reader, asked: Iterator[tuple[str, str]], count: int) -> tuple[list[Case], int]:
    """The first cases with a wrong reply, and how many questions were asked for them."""
    cases: list[Case] = []
    tried = 0
    for question, right in asked:
        if len(cases) == count:
            break
        tried += 1
        target = reader.checkpoint.target
        reply, _ = answered(target, chat_text(target, [("user", question)], reply=True))
        if right.lower() not in reply.lower():
            print(f"{question} {reply[:60]!r}, not {right}", file=sys.stderr, flush=True)
            cases.append(Case(question, right, demonstrate_chat(reader, question)))
    return cases, tried


def judged(case: Case) -> dict[str, Any]:
    """What the readings of one case say of the reply and of the right answer."""
    claims = [claim for moment in case.seen.moments for claim in moment.reading.claims]
    ahead = [claim for claim in claims if claim.family in AHEAD and claim.verdict in DECIDED]
    texts = [moment.reading.explanation or "" for moment in case.seen.moments]
    told = set(re.findall(r"[A-Z]\w{3,}", case.seen.reply)) - set(re.findall(r"\w+", case.question))
    early = next((m.reading.explanation or "" for m in case.seen.moments if m.begins), "")
    return {
        "question": case.question,
        "right": case.right,
        "reply": case.seen.reply,
        "readings": [
            {"token": m.reading.token, "explanation": m.reading.explanation, "said": m.said} for m in case.seen.moments
        ],
        "ahead": len(ahead),
        "ahead_true": sum(claim.verdict == "true" for claim in ahead),
        "names_right": any(case.right.lower() in text.lower() for text in texts),
        "names_reply": any(word in early for word in told),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a pair that reads a chat model; absent: nothing is done")
    parser.add_argument("--relations", type=Path, help="zip of relations, each a JSON file with its samples")
    parser.add_argument("--relation", default="country_capital_city")
    parser.add_argument("--question", default="What is the capital of {}?")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    args = parser.parse_args()
    if args.checkpoint is None or args.relations is None:  # as `make bench` calls it
        print("nothing is read without --checkpoint and --relations", file=sys.stderr)
        return 0
    use_threads(args.threads)
    reader = Reader(load_checkpoint(args.checkpoint), args.checkpoint)
    cases, tried = wrong(reader, questions(args.relations, args.relation, args.question), args.cases)
    found = [judged(case) for case in cases]
    rows = [
        [
            one["question"],
            one["right"],
            one["reply"][:80].replace("\n", " ").replace("|", "/"),
            str(one["readings"][0]["explanation"]).replace("\n", " ").replace("|", "/"),
            f"{one['ahead_true']} of {one['ahead']}",
            "yes" if one["names_right"] else "no",
            "yes" if one["names_reply"] else "no",
        ]
        for one in found
    ]
    conclude(markdown(COLUMNS, rows), {"cases": found, "asked": tried}, args.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
