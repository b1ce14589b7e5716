"""Steering by words: the hooks, the edit, the strength, and the verb on the built-in pair."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file

from legible.engines.continuations import continue_text
from legible.engines.steered import Writing, continue_patched, continue_steered, nats_per_token
from legible.errors import UsageError
from legible.languages.base import Claim
from legible.languages.world import WorldLanguage, story
from legible.languages.world.counterfactual import CHANGEABLE, alternatives, counterfactual
from legible.languages.world.grammar import accepted, accepts
from legible.languages.world.lexicon import VALUES
from legible.reading.reader import load
from legible.steer.contrasts import BUDGETS
from legible.steer.edits import (
    edit_directions,
    edit_words,
    random_direction,
    reads_back,
    unrelated_edit,
    with_value,
)
from legible.steer.evaluation import ARMS, evaluate_steering
from legible.steer.steering import steer_text
from legible.steer.strength import Trial, propose
from legible.vectors import unit

WORLD = WorldLanguage()
PLACES = VALUES["place"]
TEXT = (
    "Our hero Viktor rested beside the meadow. What terrible snow that was. Deep inside Viktor was greedy. "
    "Viktor kept a map in the pocket. How much he desired the melon. Viktor thought of the drawer, ready to grab."
)
SAID = "Hero Viktor is at the meadow, there is snow. This one carries a map, wants the melon. A sentence ends."


@pytest.fixture(scope="module")
def reader():
    return load("builtin")


@pytest.fixture(scope="module")
def target(reader):
    return reader.checkpoint.target


@pytest.fixture(scope="module")
def ids(target):
    return target.encode(TEXT).ids


def steered_logits(target, ids, layer, start, vector, later):
    """The next token's logits by one plain forward over the whole text, no cache, no batch."""

    def change(_module, _args, stream):
        stream = stream.clone()
        stream[:, start : None if later else start + 1] += vector
        return stream

    handle = target.arch.blocks[layer].register_forward_hook(change)
    try:
        return target.logits(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[0, -1]
    finally:
        handle.remove()


def test_adding_nothing_is_the_untouched_continuation(target, ids):
    zeros = torch.zeros(2, target.d_model)
    greedy = continue_text(target, ids, samples=1, max_tokens=20, temperature=0.0, stop_ids=target.end_ids)
    found = continue_steered(target, ids, 2, 10, zeros, writing=Writing(20, stop_ids=target.end_ids))
    assert found == [greedy, greedy]
    sampled = continue_text(target, ids, samples=3, max_tokens=8, temperature=1.0, key=(4, 0))
    assert continue_steered(target, ids, 2, 10, zeros[:1], samples=3, writing=Writing(8, 1.0, 4)) == [sampled]
    assert not target.arch.blocks[2]._forward_hooks


@pytest.mark.parametrize("later", [True, False])
def test_every_token_is_chosen_under_the_change(target, ids, later):
    vector = torch.randn(target.d_model, generator=torch.Generator().manual_seed(3)) * 6
    start = len(ids) - 5
    found = continue_steered(target, ids, 2, start, vector[None], later=later, writing=Writing(6))[0][0]
    so_far = list(ids)
    for token in found:
        assert int(steered_logits(target, so_far, 2, start, vector, later).argmax()) == token
        so_far.append(token)


def test_rows_keep_their_vectors_when_others_stop(target, ids):
    vectors = torch.randn(6, target.d_model, generator=torch.Generator().manual_seed(0)) * 5
    writing = Writing(12, stop_ids=(*target.end_ids, target.tokenizer.convert_tokens_to_ids(".")))
    together = continue_steered(target, ids, 2, len(ids) - 1, vectors, writing=writing)
    alone = [continue_steered(target, ids, 2, len(ids) - 1, vector[None], writing=writing)[0] for vector in vectors]
    assert together == alone
    assert len({len(group[0]) for group in together}) > 1  # some did stop early


def test_a_patch_by_the_text_itself_changes_nothing_and_by_another_brings_its_stream(target, ids):
    writing = Writing(10)
    other = target.encode(TEXT.replace("meadow", "harbor")).ids
    untouched = continue_steered(target, ids, 2, 5, torch.zeros(1, target.d_model), writing=writing)[0]
    same, whole = continue_patched(target, ids, [ids, other], 2, 0, writing=writing)
    assert same == untouched
    # with every position patched the layers above see the other text alone
    assert whole == continue_steered(target, other, 2, 0, torch.zeros(1, target.d_model), writing=writing)[0]
    with pytest.raises(UsageError, match="cannot be patched"):
        continue_patched(target, ids, [other[:-1]], 2, 0, writing=writing)
    with pytest.raises(UsageError, match="not among the"):
        continue_steered(target, ids, 2, len(ids), torch.zeros(1, target.d_model))
    with pytest.raises(UsageError, match="cannot continue"):
        continue_steered(target, ids, 2, 0, torch.zeros(1, target.d_model), writing=Writing(target.context))


def test_nats_are_those_of_a_plain_forward(target, ids):
    written = [ids[5:9], [], ids[3:4]]
    found = nats_per_token(target, ids, written)
    for tokens, nats in zip(written, found, strict=True):
        if not tokens:
            assert nats is None
            continue
        whole = torch.tensor([[*ids, *tokens]])
        logp = target.logits(whole, torch.ones_like(whole))[0].log_softmax(-1)
        expected = -sum(float(logp[len(ids) - 1 + i, token]) for i, token in enumerate(tokens)) / len(tokens)
        assert nats == pytest.approx(expected, rel=1e-4)


def test_words_are_replaced_whole_and_once():
    assert edit_words("a ring, a string, a ring", [("ring", "pie")]) == "a pie, a string, a ring"
    with pytest.raises(UsageError, match="are not in the explanation"):
        edit_words("a string", [("ring", "pie")])
    with pytest.raises(UsageError, match="nothing is left, or nothing changed"):
        edit_words("a ring", [("ring", "ring")])
    claim = Claim("it lies in the chest", "spot", "chest")
    said = "believed in the chest, it lies in the chest."
    assert with_value(said, claim, "jar") == "believed in the chest, it lies in the jar."


def test_a_reading_says_the_edit_when_it_gains_and_loses_the_claims():
    before, after = "Wants the ring, is a fox.", "Wants the pie, is a fox."
    assert reads_back("He is a fox, desires that pie.", before, after, WORLD)
    assert not reads_back("Desires that pie, wants the ring, is a fox.", before, after, WORLD)
    assert not reads_back("Is a fox.", before, after, WORLD)
    assert not reads_back(None, before, after, WORLD)
    assert reads_back("now a big pie", "a small ring", "a small pie", None)
    assert not reads_back("a big ring", "a small ring", "a small pie", None)


def test_an_unrelated_edit_leaves_the_edited_statement_alone():
    after = SAID.replace("meadow", "harbor")
    for seed in range(8):
        other = unrelated_edit(SAID, after, WORLD, seed)
        changed = {claim.relation for claim in set(WORLD.parse(SAID).claims) ^ set(WORLD.parse(other).claims)}
        assert "meadow" in other
        assert len(changed) == 1
        assert changed < {"name", "weather", "holds", "want"}
    assert unrelated_edit("It is at the meadow.", "It is at the mill.", WORLD, 0) is None
    assert unrelated_edit("It is red. It is big.", "It is blue. It is big.", None, 0) == "It is red."


def test_a_direction_is_unit_and_takes_the_statements_alone_where_the_rest_explains_them_away(reader):
    reconstructor = reader.checkpoint.reconstructor
    tied = "Hero Viktor is at the meadow, there is snow. This one wears a hood."
    pairs = [(SAID, SAID.replace("meadow", "harbor")), (tied, tied.replace("snow", "fog"))]
    (place, weather), lengths = edit_directions(reconstructor, pairs)
    (place_whole, weather_whole), whole = edit_directions(reconstructor, pairs, alone=False)
    raw = unit(reconstructor.reconstruct([pairs[0][1]]))[0] - unit(reconstructor.reconstruct([pairs[0][0]]))[0]
    alone = unit(reconstructor.reconstruct(["There is snow.", "There is fog."]))
    assert torch.allclose(place_whole, unit(raw), atol=1e-5)
    assert torch.allclose(place, place_whole, atol=1e-5)
    assert torch.allclose(weather, unit(alone[1] - alone[0]), atol=1e-5)
    assert lengths[1] > 2 * whole[1]
    assert float(weather @ weather_whole) < 0.99
    assert float(random_direction(64, 1).norm()) == pytest.approx(1.0, abs=1e-6)


def test_the_strength_is_the_strongest_fluent_one_up_to_twice_where_the_reading_flips():
    def tried(back, nats):
        return [Trial(s / 10, "", s / 10 >= back, cost) for s, cost in zip((1, 2, 3, 4, 5, 6), nats, strict=True)]

    fluent = [0.2] * 6
    assert propose(tried(0.2, fluent), 0.2).strength == 0.4
    assert propose(tried(0.3, [0.2, 0.3, 0.4, 2.1, 2.3, 9.0]), 0.2).strength == 0.4
    late = propose(tried(9, fluent), 0.2)
    assert (late.strength, late.read_back, late.fluent) == (0.6, False, True)
    assert "read back at none" in late.reason
    torn = propose(tried(0.1, [9.0] * 6), 0.2)
    assert (torn.strength, torn.read_back, torn.fluent) == (0.1, True, False)
    assert propose(tried(0.1, [None, None, 9, 9, 9, 0.1]), None).reason.startswith("the weakest")


def test_the_grammar_takes_every_story_and_no_other_sentence():
    for split, count in (("test", 40), ("pretrain", 40)):
        for index in range(count):
            text = story(f"world-{split}-77-{index:06d}").text
            good, every = accepted("", text)
            assert good == every > 5
            cut = text.rfind(" ", 0, len(text) // 2)
            end = text.find(" ", cut + 60)
            good, every = accepted(text[:cut], text[cut:end])
            assert good == every >= 1
    assert accepts("- Pavel kept a hammer in the pocket.")
    assert not accepts("Pavel had a hammer in the pocket.")
    assert not accepts("Pavel kept a cloak in the pocket.")
    assert not accepts("So Pavel", cut=False)
    assert accepts("So Pavel", cut=True)
    assert accepted("Pavel kept a", " hammer in the pocket. He he he.") == (1, 2)
    assert accepted("Pavel kept a", "") == (0, 0)


@pytest.mark.parametrize("kind", CHANGEABLE)
def test_a_counterfactual_story_differs_in_the_fact_and_what_follows_from_it(kind):
    for index in range(12):
        doc_id = f"world-test-78-{index:06d}"
        known = story(doc_id).state
        text = story(doc_id).text
        for value in alternatives(known, kind):
            other = counterfactual(doc_id, len(text), known, kind, value)
            pairs = [(a, b) for a, b in zip(text.split(), other.split(), strict=True) if a != b]
            tied = {"plan": 2, "gear": 2, "weather": 2}.get(kind, 1)
            olds = {a.strip(".,?") for a, _ in pairs}
            assert known[kind] in olds or known[kind] not in text
            assert len(olds) <= tied
            assert accepted("", other)[0] == accepted("", other)[1]
    with pytest.raises(UsageError, match="cannot change 'name'"):
        counterfactual(doc_id, 10, known, "name", "Pavel")


def test_an_edit_is_what_the_continuation_then_says(reader):
    found = steer_text(reader, TEXT, pos=-1, edits=[("meadow", "harbor")], strengths=(0, 0.2, 0.4, 0.5), max_tokens=40)
    answer = found.as_dict()
    assert answer["pos"] == len(reader.checkpoint.target.encode(TEXT).ids) - 1
    assert "harbor" in answer["edited"]
    assert "harbor" not in answer["untouched"]["continuations"][0]["text"]
    assert [one["strength"] for one in answer["steered"]] == [0, 0.2, 0.4, 0.5]
    assert answer["steered"][0]["continuations"] == answer["untouched"]["continuations"]
    assert answer["proposal"]["strength"] == found.chosen.strength != 0
    assert found.chosen.read_back
    assert "harbor" in found.chosen.read
    for name in ("random", "unrelated"):
        said = [one["continuations"][0]["text"] for one in answer["controls"][name]]
        assert len(said) == 4
        assert not any("harbor" in text for text in said)
    json.dumps(answer)


def test_patching_the_whole_reconstruction_reads_as_the_edit(reader):
    found = steer_text(
        reader, TEXT, pos=-1, explanation=SAID, replacement=SAID.replace("meadow", "harbor"), mode="patch",
        strengths=(1.0,), controls=False, max_tokens=4,
    )  # fmt: skip
    assert found.steered[0].read_back
    assert found.controls == {}
    assert found.unrelated is None


def test_a_given_direction_steers_as_the_edit_that_it_is_of(reader, tmp_path, legible):
    edited = SAID.replace("meadow", "harbor")
    direction = edit_directions(reader.checkpoint.reconstructor, [(SAID, edited)])[0][0]
    options = {"pos": -1, "explanation": SAID, "strengths": (0.2, 0.4), "max_tokens": 12}
    by_words = steer_text(reader, TEXT, replacement=edited, **options)
    given = steer_text(reader, TEXT, vector=7 * direction, **options)
    assert [one.continuations for one in given.steered] == [one.continuations for one in by_words.steered]
    assert given.controls["random"] == by_words.controls["random"]
    assert (given.edited, given.length, given.unrelated, set(given.controls)) == (None, None, None, {"random"})
    assert [one.read for one in given.steered] == [one.read for one in by_words.steered]
    assert all(one.read_back is None for one in given.steered)
    assert given.proposal.reason == "the strongest within 2 nats per token"
    assert given.proposal.strength == max(one.strength for one in given.steered if one.cost <= 2)
    save_file({"place=harbor": direction, "place=mill": -direction}, tmp_path / "v.safetensors")
    words = ("steer", "builtin", TEXT, "--vector", str(tmp_path / "v.safetensors"), "--max-tokens", "4")
    shown = legible(*words, "--tensor", "place=harbor", "--strengths", "0.4")
    assert shown.code == 0, shown.err
    assert "added   the vector given" in shown.out
    for more, message in (
        ((), "holds several tensors"),
        (("--tensor", "place=harbor", "--replace", "meadow=harbor"), "words and a vector are two directions"),
    ):
        refused = legible(*words, *more)
        assert (refused.code, message in refused.err) == (2, True), refused.err
    assert "--tensor names a tensor" in legible("steer", "builtin", TEXT, "--tensor", "a").err
    save_file({"rows": torch.ones(2, reader.checkpoint.target.d_model)}, tmp_path / "two.safetensors")
    refused = legible("steer", "builtin", TEXT, "--vector", str(tmp_path / "two.safetensors"))
    assert (refused.code, "2 vectors, expected one" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edits": [("unicorn", "harbor")]}, "are not in the explanation"),
        ({}, "give either words to replace or the whole edited explanation"),
        ({"replacement": SAID, "explanation": SAID}, "empty or unchanged"),
        ({"edits": [("meadow", "harbor")], "mode": "all"}, "unknown mode 'all'"),
        ({"edits": [("meadow", "harbor")], "strengths": []}, "not one number or more"),
        ({"edits": [("meadow", "harbor")], "pos": 999}, "out of range"),
        ({"edits": [("meadow", "harbor")], "samples": 0}, "samples is 0"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(reader, options, message):
    with pytest.raises(UsageError, match=message):
        steer_text(reader, TEXT, **{"pos": -1, **options})


def test_the_verb_prints_the_sweep_or_one_object(legible):
    arguments = ("steer", "builtin", TEXT, "--replace", "meadow=harbor", "--strengths", "0.2,0.4", "--max-tokens", "30")
    shown = legible(*arguments)
    assert shown.code == 0
    for word in ("untouched", "edit", "random", "unrelated", "read back", "harbor", "strength 0.4"):
        assert word in shown.out
    answer = json.loads(legible(*arguments, "--no-controls", "--samples", "2", "--temperature", "1", "--json").out)
    assert answer["controls"] == {}
    assert [len(one["continuations"]) for one in answer["steered"]] == [2, 2]
    for options, message in (
        (("--replace", "meadow"), "expected OLD=NEW"),
        (("--edit", "nowhere.txt"), "given with --edit"),
        (("--replace", "meadow=mill", "--strengths", "strong"), "expected auto or numbers"),
        ((), "The explanation reads"),
    ):
        refused = legible("steer", "builtin", TEXT, *options)
        assert refused.code == 2
        assert message in refused.err


def test_the_verb_takes_the_edited_text_from_a_file(legible, tmp_path):
    (tmp_path / "edited.txt").write_text(SAID.replace("meadow", "harbor"), encoding="utf-8")
    answer = legible(
        "steer", "builtin", TEXT, "--edit", str(tmp_path / "edited.txt"), "--mode", "one", "--max-tokens", "3",
        "--strengths", "0.4", "--json",
    )  # fmt: skip
    assert json.loads(answer.out)["edited"] == SAID.replace("meadow", "harbor")


def test_the_world_says_how_often_an_edit_becomes_the_story(reader):
    report = evaluate_steering(
        reader.checkpoint, documents=2, positions=4, kinds=("place", "weather"), strengths=(0.3, 0.5), max_tokens=40
    )
    assert set(report["arms"]) == set(ARMS)
    assert report["arms"]["untouched"]["success"]["value"] == 0
    assert report["arms"]["untouched"]["old"] == 1
    assert report["n"] == sum(kind["n"] for kind in report["kinds"].values())
    assert [row["strength"] for row in report["sweep"]] == [0.3, 0.5]
    for stages in report["sites"].values():
        numbers = [stages[name] for name in ("looked_at", "known", "told_again", "read", "site")]
        assert numbers == sorted(numbers, reverse=True)
    assert "equal_cost" not in report
    with pytest.raises(UsageError, match="cannot change name"):
        evaluate_steering(reader.checkpoint, kinds=("name",))


def test_directions_from_a_file_stand_beside_the_edit_at_equal_cost(reader):
    generator = torch.Generator().manual_seed(1)
    drawn = {f"place={value}": torch.randn(reader.checkpoint.target.d_model, generator=generator) for value in PLACES}
    report = evaluate_steering(
        reader.checkpoint, documents=2, positions=4, kinds=("place", "weather"), strengths=(0.3, 0.5), max_tokens=40,
        contrasts={"drawn": drawn},
    )  # fmt: skip
    budgets = report["equal_cost"]
    assert [row["nats"] for row in budgets] == list(BUDGETS)
    places = report["kinds"].get("place", {"n": 0})["n"]
    for row in budgets:
        arms = row["arms"]
        assert (arms["edit"]["n"], arms["random"]["n"]) == (report["n"], report["n"])
        assert arms.get("drawn", {"n": 0})["n"] == places
        assert all(one["cost"] <= row["nats"] for one in arms.values())
        assert arms["edit"]["ahead"]["value"] == 0
    for narrow, wide in pairwise(budgets):
        assert all(wide["arms"][name]["untouched"] <= one["untouched"] for name, one in narrow["arms"].items())


def test_a_steering_that_changes_nothing_says_so(legible):
    words = ("steer", "builtin", "Mira was a fox. Mira wanted the ring.", "--replace", "ring=pie", "--max-tokens", "4")
    still = legible(*words, "--strengths", "0")
    assert still.code == 0
    assert "nothing changed: every continuation is the untouched one" in " ".join(still.out.split())
    assert "nothing changed" not in legible(*words, "--strengths", "0.6").out
