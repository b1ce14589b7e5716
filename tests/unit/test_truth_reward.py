"""What claims earn: prices by hand, credit on tokens by hand, other words that state the same."""

import random
from collections import Counter

import pytest
import torch

from legible.config import RLConfig
from legible.errors import ConfigError
from legible.labels import Label, Mark
from legible.languages.base import Claim, Fact, Row
from legible.languages.text import LANGUAGE as TEXT
from legible.languages.world import WorldLanguage, build_tokenizer, english, story_document
from legible.teachers.language import LanguageTeacher
from legible.teachers.leverage import keep_from_leverage
from legible.train.rollouts import Rollout, RolloutGroup
from legible.train.terms.leverage import leverages
from legible.train.terms.paraphrase import reordered, rewrite
from legible.train.terms.said import Said, added, on_tokens, said_in
from legible.train.terms.truth import Prices, claim_values

WORLD = WorldLanguage()
FACTS = {
    "species": Fact("species", "stated", ("fox",)),
    "mood": Fact("mood", "implied", ("sad",), "hero"),
    "place": Fact("place", "open", ()),
    "time": Fact("time", "stated", ("noon",)),
}
DOCUMENT = story_document("train", 0, 0)


def row(recent: str = "somewhere else") -> Row:
    document = DOCUMENT.__class__(DOCUMENT.doc_id, f"x {recent}")
    return Row(document, 50, len(document.text), 2, 5, 6)


def worth(text: str, recent: str = "somewhere else", **prices: float) -> list[float | None]:
    found = Prices.of(RLConfig(truth_reward=1.0, **prices))
    return claim_values(WORLD.parse(text).claims, FACTS, row(recent), WORLD, found)


def test_true_context_claims_earn_and_the_others_cost_their_price():
    text = "The hero is a fox, is at the harbor, it is dawn. The hero feels sad, the plan is unknown."
    assert worth(text, false_price=2.0, open_price=0.5, unknown_price=0.25) == [1.0, -0.5, -2.0, 1.0, None]
    assert worth("The hero feels sad, the mood is unknown.", unknown_price=0.25) == [1.0, -0.25]


def test_what_the_last_tokens_give_away_earns_nothing_but_may_still_be_wrong():
    assert worth("The hero is a fox.", recent="the fox") == [0.0]
    assert worth("The hero is a hare.", recent="the hare") == [-1.0]


def test_saying_a_true_thing_twice_is_paid_once_and_a_false_one_is_charged_twice():
    assert worth("The hero is a fox. This one lives as a fox.") == [1.0, 0.0]
    assert worth("The hero is a hare. This one lives as a hare.") == [-1.0, -1.0]


def test_a_true_denial_earns_nothing_and_a_false_one_is_charged():
    text = "The hero is not a hare, is not a fox, is not at the harbor. The other feels sad."
    assert worth(text, false_price=2.0, open_price=0.5) == [0.0, -2.0, -0.5, -0.5]
    assert worth("The hero is a fox, lives as a harbor, if sad.") == [1.0, -1.0]  # unparsed words: no claim at all


def test_guessing_must_not_be_cheaper_than_saying_unknown():
    with pytest.raises(ConfigError, match=r"rl\.unknown_price is 1, rl\.false_price 1: .* rather guess"):
        worth("The hero is a fox.", unknown_price=1.0)


def rollouts(*texts: str) -> RolloutGroup:
    tokenizer = build_tokenizer()
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]
    return RolloutGroup(
        0, [Rollout(one, [-1.0] * len(one), text, "stop") for one, text in zip(ids, texts, strict=True)]
    )


def test_leverage_is_the_rise_of_the_error_when_the_words_are_gone():
    group = rollouts("The hero is a fox, is at the harbor.", "The hero is a fox.")
    said = said_in([group], lambda text: WORLD.parse(text).claims, build_tokenizer())
    asked: list[str] = []

    def read(texts):
        asked.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    found = leverages(said, read, lambda pred, index: 100 - pred[:, 0] + 1000 * torch.tensor(index))
    assert len(asked) == len(set(asked))  # "The hero is a fox." is a rollout and a deletion of another
    whole, fox, harbor = (len(t) for t in (said[0].explanation, "The hero is at the harbor.", "The hero is a fox."))
    assert found == [[whole - fox, whole - harbor], [len("The hero is a fox.")]]


def test_credit_is_centred_over_the_claims_of_a_group_and_lies_on_their_own_tokens():
    claims = [Claim("a", "species", "a"), Claim("b", "mood", "b")]
    said = [
        Said((0, 0), "", claims, [[0, 1], [3]]),
        Said((0, 1), "", claims, [[1], []]),  # the second is not in the text
        Said((1, 0), "", claims, [[0], [0, 2]]),  # two claims share a token
    ]
    values = [[3.0, None], [1.0, 50.0], [4.0, 2.0]]
    found = on_tokens(said, values, 0.5, {(0, 0): 5, (0, 1): 3, (1, 0): 4})
    assert found[0, 0].tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]  # the group's mean is 2
    assert found[0, 1].tolist() == [0.0, -0.5, 0.0]
    assert found[1, 0].tolist() == [0.0, 0.0, -0.5, 0.0]  # +0.5 and -0.5 share the first token
    both = added(found, {(0, 1): torch.ones(3)})
    assert both[0, 1].tolist() == [1.0, 0.5, 1.0]
    assert both[0, 0] is found[0, 0]


def stated(language, text: str) -> Counter:
    return Counter((claim.relation, claim.value) for claim in language.parse(text).claims)


def test_other_words_state_the_same_claims_in_training_wordings_alone():
    held_out = {w.split("{v}")[0].strip() for wordings in english.FRAGMENTS.values() for w in wordings[2::3]}
    held_out |= {english.SUBJECTS[2], *(wordings[2] for wordings in english.EDGES.values())}
    held_out -= {""}
    different = 0
    for index in range(12):
        document = story_document("train", 3, index)
        where = Row(document, 80 + index, len(document.text) * 3 // 4, len(document.text) // 2, 5, 6)
        claims = [Claim("", f.relation, f.values[0] if f.values else None) for f in WORLD.facts(where).values()]
        text = WORLD.write(claims, where, 0)
        for seed in range(6):
            other = rewrite(text, WORLD, where, seed)
            assert stated(WORLD, other) == stated(WORLD, text)
            assert other == rewrite(text, WORLD, where, seed)
            assert not [words for words in held_out if words.lower() in other.lower()]
            different += other != text
    assert different > 60


def test_what_is_said_of_any_text_can_be_put_in_other_words_too():
    words = 'Tom and Sue went to the house. Tom said, "Do you see the sad dog and the old cat that were'
    labels = {"person": Label((Mark("Tom"), Mark("Sue"))), "topic": Label((Mark("everyday life"),))}
    document = DOCUMENT.__class__("d", words, labels=labels)
    where = Row(document, 30, len(words), len(words) - 20, 5, 6, (" the", "a"), continuations=(' there?" Sue said',))
    text = TEXT.write(TEXT.taught(where), where, 0)
    others = {rewrite(text, TEXT, where, seed) for seed in range(8)}
    assert len(others) > 4
    assert all(stated(TEXT, other) == stated(TEXT, text) for other in others)


def test_a_teacher_limited_by_leverage_keeps_what_the_reconstructor_needs():
    document = story_document("train", 3, 1)
    where = Row(document, 80, len(document.text) * 3 // 4, len(document.text) // 2, 5, 6)
    teacher = LanguageTeacher(WORLD)
    value = {claim.relation: str(claim.value) for claim in WORLD.taught(where)}
    helps, hurts, *idle = [kind for kind in value if kind not in ("spot", "belief", "edge")]

    class Reader:
        def reconstruct(self, texts):
            weights = [1.0 + (value[helps] in text) - 2.0 * (value[hurts] in text) for text in texts]
            return torch.tensor([[weight, 1.0] for weight in weights])

    (kept,) = keep_from_leverage(Reader(), torch.tensor([[5.0, 1.0]]), [where], teacher, least=1e-4)
    assert kept == {helps}
    (kept,) = keep_from_leverage(Reader(), torch.tensor([[5.0, 1.0]]), [where], teacher, least=-1e-4)
    assert kept == value.keys() - {hurts}
    assert idle


@pytest.mark.parametrize("text", ["", "Nothing here is a claim.", "The hero is a fox, is a hare."])
def test_what_cannot_be_restated_keeps_its_words(text):
    assert rewrite(text, WORLD, row(), 1) is None


def test_clauses_change_places_behind_the_first_one():
    text = "The hero is a fox, it is noon, there is rain. This one feels sad."
    orders = {reordered(text, random.Random(seed)) for seed in range(40)}
    assert len(orders) == 4
    assert all("The hero is a fox, " in order for order in orders)
