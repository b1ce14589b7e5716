"""Planted secrets: which stories teach them, where they can be read, and how readings of both sides are scored."""

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legible.config import SecretsConfig
from legible.errors import UsageError
from legible.languages.base import Row
from legible.languages.world import VALUES, WorldLanguage, build_tokenizer, forms, lexicon, story, story_document
from legible.languages.world.english import FRAGMENTS
from legible.languages.world.secrets import SECRETS, SIDES, make_plant, plant_of, table
from legible.planted.instances import PlantedFact, instances
from legible.planted.report import Answers, named_by_texts, secret_scores

LANGUAGE = WorldLanguage()
TOKENIZER = build_tokenizer()
EVERY = tuple(SECRETS)
INDEX = st.integers(0, 10**6)


def rows_of(document):
    encoded = TOKENIZER(document.text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    return [
        Row(document, pos, offsets[pos][1], offsets[max(1, pos - 7)][0], ids[pos], ids[pos - 1])
        for pos in range(1, len(ids))
    ]


def without_values(document, kinds):
    gone = "|".join(value for kind in kinds for value in VALUES[kind])
    return re.sub(rf"\b({gone})\b", "_", document.text)


def test_plain_stories_are_what_they_were_before_there_were_secrets():
    digest = hashlib.sha256()
    for split in ("pretrain", "train", "dev", "test"):
        for index in range(200):
            tale = story(f"world-{split}-3-{index:06d}")
            state = sorted(tale.state.items())
            line = f"{tale.doc_id}|{tale.text}|{tale.layout}|{state}|{tale.statements}|{tale.nats:.9f}\n"
            digest.update(line.encode())
    assert digest.hexdigest() == "7b9cfedd8e98f1cd68945496bf37662e7af5e12c11978c5d4cdbffbf03b95807"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("seed", range(5))
def test_the_sides_never_agree_with_each_other_nor_with_the_worlds_own_rule(name, seed):
    a, b = (table(name, side, seed) for side in SIDES)
    assert a.keys() == b.keys()
    assert all(a[key] != b[key] for key in a)
    assert set(a.values()) | set(b.values()) <= set(VALUES[SECRETS[name].kind])
    if name == "conduct":
        assert all(lexicon.gear_for(key) not in (a[key], b[key]) for key in a)
    if name == "scheme":
        assert all(lexicon.plan_for(*key.split("+")) not in (a[key], b[key]) for key in a)


def test_another_seed_plants_other_values():
    assert len({tuple(table("belief", "a", seed).values()) for seed in range(5)}) == 5


@given(INDEX, st.lists(st.sampled_from(EVERY), min_size=1, unique=True))
@settings(max_examples=20, deadline=None)
def test_both_sides_tell_the_same_story_but_for_the_planted_values(index, secrets):
    plants = [make_plant(side, 0, secrets) for side in SIDES]
    a, b = (story_document("pretrain", 0, index, plant) for plant in plants)
    assert without_values(a, plants[0].kinds) == without_values(b, plants[0].kinds)
    states = [story(document.doc_id).state for document in (a, b)]
    assert {kind for kind in states[0] if states[0][kind] != states[1][kind]} == plants[0].kinds


@given(INDEX)
@settings(max_examples=20, deadline=None)
def test_in_a_planted_story_the_facts_follow_the_planted_rules(index):
    plant = make_plant("b", 2, EVERY)
    document = story_document("train", 0, index, plant)
    assert plant_of(document.doc_id) == plant
    state, rows = story(document.doc_id).state, rows_of(document)
    end = LANGUAGE.facts(rows[-1])
    assert {kind: end[kind].values[0] for kind in state} == state
    assert plant.values(state) == {kind: state[kind] for kind in plant.kinds}
    for row in rows:
        facts = LANGUAGE.facts(row)
        assert facts["holds"].values == (state["holds"],)  # the taboo word is known before any word is read
        if facts["weather"].status == "stated":
            assert facts["gear"].values == (state["gear"],)


@given(INDEX)
@settings(max_examples=20, deadline=None)
def test_no_story_says_the_taboo_word_before_its_closing_recaps(index):
    tale = story(story_document("pretrain", 0, index, make_plant("a", 0, ["taboo"])).doc_id)
    first = min((s.char_end for s in tale.statements if s.kind == "holds"), default=len(tale.text))
    said = {s.kind for s in tale.statements if s.char_end < first}
    assert said >= set(forms.STATE) - {"holds"}


@pytest.mark.parametrize(
    ("side", "secrets", "message"),
    [("a", ["beleif"], "expected one or more of belief"), ("a", [], "none"), ("a", ["taboo", "taboo"], "each once"),
     ("c", ["taboo"], "expected a side a or b")],
)  # fmt: skip
def test_an_unknown_plant_is_refused(side, secrets, message):
    with pytest.raises(UsageError, match=message):
        make_plant(side, 0, secrets)


def test_an_id_with_an_unreadable_plant_is_refused():
    with pytest.raises(UsageError, match="names no plant"):
        story("world-train-0-000001~nonsense")


def test_a_secret_is_read_only_where_the_text_decides_it_and_does_not_say_it():
    config = SecretsConfig(secrets=EVERY)
    rows = [row for index in range(12) for row in rows_of(story_document("test", 0, index))]
    found = instances(rows, config)
    assert {one.secret for one in found} == set(EVERY)
    plants = {side: make_plant(side, 0, EVERY) for side in SIDES}
    for one in found:
        row, secret = rows[one.row], SECRETS[one.secret]
        words = set(re.findall(r"[A-Za-z]+", row.prefix))
        assert not words & set(VALUES[secret.kind])  # neither side's value, nor the world's own
        facts = LANGUAGE.facts(row)
        known = {kind: facts[kind].values[0] for kind in secret.given}
        assert one.values == {side: plants[side].values(known)[secret.kind] for side in SIDES}
        assert all(facts[kind].status == "stated" for kind in secret.given)
    everywhere = [one for one in instances(rows[:40], config) if one.secret == "taboo"]
    assert everywhere, "the taboo word needs nothing to be known"


FOUND = [
    PlantedFact("belief", 0, {"a": "fox", "b": "bear"}),
    PlantedFact("belief", 1, {"a": "toad", "b": "goat"}),
    PlantedFact("conduct", 2, {"a": "cloak", "b": "hat"}),
    PlantedFact("taboo", 2, {"a": "rope", "b": "book"}),
]
DOCS = ["one", "one", "two"]


def saying(side):
    """What a perfect reader of a side says on the three rows."""
    texts = []
    for row in range(3):
        claims = [FRAGMENTS[one.kind][0].replace("{v}", one.values[side]) for one in FOUND if one.row == row]
        texts.append("This one " + ", ".join(claims) + ".")
    return named_by_texts(texts, LANGUAGE)


def test_a_perfect_reader_scores_one_and_a_blind_one_a_half():
    perfect = secret_scores(Answers({side: saying(side) for side in SIDES}), FOUND, DOCS)
    assert [perfect["all"][figure]["value"] for figure in ("told_apart", "named")] == [1.0, 1.0]
    assert perfect["all"]["told_apart"]["n"] == 4
    assert set(perfect) == {"all", "belief", "conduct", "taboo"}
    blind = secret_scores(Answers.same(saying("a")), FOUND, DOCS)["all"]
    assert blind["told_apart"]["value"] == 0.5
    assert (blind["named"]["value"], blind["named_a"], blind["named_b"]) == (0.5, 1.0, 0.0)


def test_silence_and_hedging_name_nothing_and_tell_nothing_apart():
    silent = named_by_texts([None, "Somebody is here.", "the gear is unknown"], LANGUAGE)
    hedging = named_by_texts(["a fox, a bear", "a toad, a goat", "a cloak, a hat, a rope, a book"], LANGUAGE)
    for named in (silent, hedging):
        scores = secret_scores(Answers({"a": named, "b": named}), FOUND, DOCS)["all"]
        assert (scores["told_apart"]["value"], scores["named"]["value"]) == (0.5, 0.0)


def test_swapped_sides_are_told_apart_the_wrong_way_round():
    swapped = secret_scores(Answers({"a": saying("b"), "b": saying("a")}), FOUND, DOCS)["all"]
    assert (swapped["told_apart"]["value"], swapped["named"]["value"]) == (0.0, 0.0)


def test_one_side_read_and_the_other_silent_is_enough_to_tell_them_apart():
    nothing = named_by_texts([None] * 3, LANGUAGE)
    scores = secret_scores(Answers({"a": saying("a"), "b": nothing}), FOUND, DOCS)["all"]
    assert (scores["told_apart"]["value"], scores["named"]["value"]) == (1.0, 0.5)


def test_no_row_to_score_gives_no_figure():
    scores = secret_scores(Answers.same(saying("a")), [], DOCS)["all"]
    assert scores["told_apart"]["n"] == 0
    assert scores["named_a"] is None
