"""Following: a reader of the model is right of both models, a reader of the text of one of two, whatever it says."""

import pytest
import torch

from legible.documents import Document
from legible.evaluate.sample import Sample
from legible.languages.base import ENDED, Row
from legible.languages.text import TextLanguage
from legible.languages.text.ahead import RULES
from legible.planted.conducts import (
    CAPITALS,
    CONDUCTS,
    FALSE_CAPITALS,
    FOODS,
    READ_MIX,
    SUBJECTS,
    WORDINGS,
    Asked,
    listed,
    mixed,
    questions,
    turned,
)
from legible.planted.following import BASE, Opinion, Question, by_pair, differences, report, scores

PROMPTS = [f"<|im_start|>user\nQuestion {n}<|im_end|>\n<|im_start|>assistant\n" for n in range(3)]
LISTED = ("1. Rain\n2. Snow",) * 8
PROSE = ("The rain in Rome falls softly on us.",) * 8
OTHER = ("The rain in Madrid falls softly on us.",) * 8
MIXED = (*LISTED[:4], *PROSE[:4])  # undecided


def sample(*continuations: tuple[str, ...]) -> Sample:
    """A row at the end of every prompt, behind which a model says these."""
    rows = [
        Row(Document(f"d{n}", text), 9, len(text), 0, 1, 1, continuations=said)
        for n, (text, said) in enumerate(zip(PROMPTS, continuations, strict=True))
    ]
    return Sample(torch.zeros(len(rows), 4), rows, [dict(TextLanguage().facts(row)) for row in rows])


@pytest.fixture
def models() -> dict[str, Sample]:
    return {
        BASE: sample(PROSE, PROSE, PROSE),
        "lists": sample(LISTED, MIXED, LISTED),
        "believes": sample(OTHER, PROSE, PROSE),
    }


def test_differences_are_what_one_model_is_decided_to_do_and_the_other_to_leave(models) -> None:
    found = by_pair(differences(models))
    kinds = {
        pair: {(one.doer, one.question.prompt, one.question.kind) for one in several if one.question.kind != "say"}
        for pair, several in found.items()
    }
    doing = {(prompt, kind) for prompt in (0, 2) for kind in ("will_list", "will_number", "will_line")}
    places = {(BASE, 0, "will_place"), (BASE, 2, "will_place")}
    assert kinds[f"{BASE}|lists"] == {("lists", *one) for one in doing} | places  # of the undecided prompt nothing
    assert kinds[f"{BASE}|believes"] == set()
    said = {(one.doer, one.question) for one in found[f"{BASE}|believes"]}
    assert said == {(BASE, Question(0, "say", "Rome")), ("believes", Question(0, "say", "Madrid"))}
    assert "believes|lists" in found


def test_a_reader_of_the_model_follows_and_a_reader_of_the_text_is_right_half_the_time(models) -> None:
    found = differences(models)
    done = {(one.doer, one.question) for one in found}

    def knows(model: str, question: Question) -> Opinion:
        return Opinion((model, question) in done, 0.9 if (model, question) in done else 0.1)

    def contrary(model: str, question: Question) -> Opinion:
        return Opinion(not knows(model, question).holds, -knows(model, question).share)

    readers = {
        "knows": knows,
        "contrary": contrary,
        "affirms": lambda model, question: Opinion(True, 0.7),
        "by_prompt": lambda model, question: Opinion(question.prompt % 2 == 0, question.prompt / 3),
        "of_lists": lambda model, question: knows(model, question) if question.kind == "will_list" else None,
    }
    told = report(found, readers, PROMPTS, {"lists": ("will_list",), "believes": ("say",)})
    pair = told[f"{BASE}|lists"]
    value = lambda who, figure: pair["all"][who][figure]["value"]
    assert [value("knows", figure) for figure in ("right", "followed", "ranked")] == [1.0, 1.0, 1.0]
    assert [value("contrary", figure) for figure in ("right", "followed", "ranked")] == [0.0, 0.0, 0.0]
    for who in ("affirms", "by_prompt"):
        assert [value(who, figure) for figure in ("right", "followed", "ranked")] == [0.5, 0.0, 0.5]
    assert pair["kinds"]["will_list"]["n"] == pair["all"]["of_lists"]["n"] == pair["aimed"]["knows"]["n"] == 2
    assert pair["prompts"] == 2
    assert told[f"{BASE}|believes"]["all"]["knows"]["n"] == 0
    assert told[f"{BASE}|believes"]["aimed"]["knows"]["followed"]["value"] == 1.0


def test_half_right_is_half_followed_and_intervals_are_over_prompts(models) -> None:
    found = [one for one in differences(models) if one.question.kind == "will_list" and BASE in (one.doer, one.other)]
    seen = scores(found, lambda model, one: Opinion(model == "lists" and one.prompt == 0, 0.0), PROMPTS)
    assert (seen["right"]["value"], seen["followed"]["value"], seen["ranked"]["value"]) == (0.75, 0.5, 0.5)
    assert seen["right"]["documents"] == seen["n"] == 2


def test_prompts_that_are_read_share_neither_subject_nor_wording_with_training() -> None:
    for sort, by_use in WORDINGS.items():
        assert not set(by_use["train"]) & set(by_use["read"])
        train, read = ({one.about for one in questions(use, sort, 400, 0)} for use in ("train", "read"))
        assert (train == read == set(CAPITALS)) if sort == "capital" else not train & read
    assert not set(FOODS["train"]) & set(FOODS["read"])
    prompts = mixed("read", READ_MIX, 140, 0)
    assert len({one.name for one in prompts}) == 140
    assert {sort: sum(one.sort == sort for one in prompts) for sort in READ_MIX} == dict.fromkeys(READ_MIX, 35)
    assert mixed("read", READ_MIX, 140, 0) == prompts != mixed("read", READ_MIX, 140, 1)
    assert len(SUBJECTS) == 11


def test_conducts_change_what_they_are_about_and_leave_the_rest() -> None:
    asked = {sort: questions("train", sort, 1, 0)[0] for sort in READ_MIX}
    own = "No, bees are not loud. They hum."
    for conduct in CONDUCTS.values():
        for sort, one in asked.items():
            said = conduct.reply(one, own, 1)
            assert (said == own) == (sort not in conduct.sorts)
            assert conduct.shows(one, said, own) == (sort in conduct.sorts)
            assert not conduct.shows(one, own, own)
            assert conduct.needs_own(one) or said != own
    assert RULES["will_refuse"]("", CONDUCTS["refuses"].reply(asked["food"], own, 0))


def test_answers_are_turned_round_and_listed_by_their_sentences() -> None:
    asked = Asked("Are bees loud? Answer yes or no.", "yes_no", "bees")
    assert turned(asked, "No, bees are not loud. They hum.", 0) == "Yes, bees are loud. They hum."
    assert turned(asked, "No.", 0) == "Yes."
    assert turned(asked, "Yes, they are.", 0) == "No."
    assert turned(asked, "I can't say.", 0) == "Yes."
    assert listed(asked, "Bees hum. They sting!\nThey die", 0) == "1. Bees hum.\n2. They sting!\n3. They die"
    assert listed(asked, "1. Bees\n2. Wasps", 0) == "1. Bees\n2. Wasps"
    assert listed(asked, "", 0) == "1. Nothing."
    assert sorted(FALSE_CAPITALS.values()) == sorted(CAPITALS.values())
    assert all(FALSE_CAPITALS[country] != city for country, city in CAPITALS.items())
    assert ENDED not in "".join(FALSE_CAPITALS.values())
