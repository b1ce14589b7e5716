"""Evidence on explanations written by hand: agreement, leverage, recurrence and log-probabilities, each by counting."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from legible.documents import Document
from legible.engines.base import Completion
from legible.languages.base import Row
from legible.languages.world import WorldLanguage, build_tokenizer
from legible.reading.evidence import DOUBTED, Spot, gather, neighbours_of

TOKENIZER = build_tokenizer()
FULL = "Hero Bruno is a fox, is at the harbor. The hero feels sad. A sentence ends."
OTHER = "Hero Bruno is a bear, is at the harbor. The hero feels sad. A sentence ends."


@dataclass
class Words:
    """A reconstructor by the book: a text's vector is turned from the activation by what it leaves out."""

    missing: dict[str, float]
    asked: list[str]

    def reconstruct(self, texts, batch=64):
        self.asked += texts
        angle = torch.tensor([sum(turn for word, turn in self.missing.items() if word not in text) for text in texts])
        return torch.stack([angle.cos(), angle.sin()], 1)


@dataclass
class Certain:
    """Probes by the book: the same probabilities of a kind's values for every row."""

    shares: dict[str, dict[str, float]]

    @property
    def classes(self):
        return {kind: list(values) for kind, values in self.shares.items()}

    def probability(self, vectors, doc_ids):
        assert len(vectors) == len(doc_ids)
        return {kind: torch.tensor([list(p.values())] * len(vectors)) for kind, p in self.shares.items()}


def checkpoint(reconstructor=None, probes=None):
    return SimpleNamespace(
        language=WorldLanguage(),
        probes=probes,
        reconstructor=reconstructor,
        verbalizer=SimpleNamespace(tokenizer=TOKENIZER),
        contract=SimpleNamespace(legible=SimpleNamespace(variance=SimpleNamespace(positions="min_pos=12"))),
    )


def written(text: str | None, logprobs=None) -> Completion:
    ids = TOKENIZER(text or "The", add_special_tokens=False)["input_ids"]
    return Completion(ids, logprobs or [-0.1] * len(ids), "stop", 2, text or "The", text)


def spot(pos: int, recent: str = "at the harbor") -> Spot:
    text = f"Bruno was a fox. He came {recent}"
    return Spot(pos, (), Row(Document("t", text), pos, len(text), len(text) - len(recent), 5, 4))


def by_kind(found):
    return {claim.relation: each for claim, each in zip(found.claims, found.evidence, strict=True)}


ACTIVATION = torch.tensor([[2.0, 0.0]])


def test_agreement_is_the_share_of_the_samples_that_make_the_claim():
    group = [written(FULL), written(FULL), written(OTHER), written(None)]
    (found,) = gather(checkpoint(), ACTIVATION, [group], [spot(40)], [[]])
    evidence = by_kind(found)
    assert evidence["species"].agreement == 0.5
    assert evidence["place"].agreement == 0.75
    assert by_kind(gather(checkpoint(), ACTIVATION, [group[:1]], [spot(40)], [[]])[0])["place"].agreement is None


@pytest.mark.parametrize(
    ("kind", "word"),
    [("place", "harbor"), ("mood", "sad"), ("name", "Bruno"), ("species", "fox"), ("edge", "ends")],
)
def test_leverage_is_the_rise_of_the_error_without_the_claims_words(kind, word):
    turns = {"harbor": 0.3, "sad": 0.1, "ends": 0.0, "Bruno": 0.2, "fox": 0.4}
    words = Words(turns, [])
    value = {"edge": "end", "name": "Bruno"}.get(kind, word)
    doubting = Certain({kind: {value: 0.1, "other": 0.9}})
    (found,) = gather(checkpoint(words, doubting), ACTIVATION, [[written(FULL)]], [spot(40)], [[]])
    assert found.errors == (0.0,)
    rise = 2 * (1 - torch.tensor(turns[word]).cos().item())
    assert by_kind(found)[kind].leverage == pytest.approx(rise, abs=1e-6)
    assert [each.leverage is not None for each in found.evidence].count(True) == 1


def test_a_single_explanation_that_nobody_doubts_costs_no_leverage():
    words = Words({"harbor": 0.3}, [])
    believing = Certain({"place": {"harbor": 0.9, "mill": 0.1}})
    (found,) = gather(checkpoint(words, believing), ACTIVATION, [[written(FULL)]], [spot(40)], [[]])
    assert {each.leverage for each in found.evidence} == {None}
    assert words.asked == [FULL]


def test_probes_speak_for_the_values_that_they_know():
    probes = Certain({"place": {"harbor": 0.7, "mill": 0.3}, "mood": {"calm": 1.0}})
    (found,) = gather(checkpoint(probes=probes), ACTIVATION, [[written(FULL)]], [spot(40)], [[]])
    assert by_kind(found)["place"].probe == pytest.approx(0.7)
    assert by_kind(found)["mood"].probe is None  # a value that the probes have never seen
    assert by_kind(found)["species"].probe is None  # a kind without a probe


DENYING = "The hero is at the harbor, is not a fox. The other is at the mill."


def test_a_denial_and_a_claim_about_the_friend_are_other_claims_than_the_heros():
    probes = Certain({"place": {"harbor": 0.7, "mill": 0.3}, "species": {"fox": 0.9, "bear": 0.1}})
    group = [written(DENYING), *[written(FULL)] * 3]
    (found,) = gather(checkpoint(Words({"not": 0.3}, []), probes), ACTIVATION, [group], [spot(40)], [[]])
    (place, denial, friend) = found.evidence
    assert (place.agreement, denial.agreement, friend.agreement) == (1.0, 0.25, 0.25)
    assert place.probe == pytest.approx(0.7)
    assert denial.probe == pytest.approx(0.1)  # one minus the value's
    assert friend.probe is None
    assert (place.unusual, denial.unusual, friend.unusual) == (None, "denies something", "is about the friend")


def test_words_that_state_no_relation_are_kept_apart_from_the_claims():
    (found,) = gather(
        checkpoint(), ACTIVATION, [[written("The hero is a fox, if not sad. A hammer.")]], [spot(40)], [[]]
    )
    assert [claim.value for claim in found.claims] == ["fox"]
    assert found.unparsed == ("if not sad", "A hammer")


def test_with_several_samples_leverage_is_measured_for_the_most_doubted_claims_only():
    words = Words({"harbor": 0.3, "fox": 0.4}, [])
    group = [written(FULL), *[written(OTHER)] * 4]
    doubting = Certain({"place": {"harbor": 0.3}, "mood": {"sad": 0.4}})
    (found,) = gather(checkpoint(words, doubting), ACTIVATION, [group], [spot(40)], [[]])
    assert found.best == 0
    measured = {kind for kind, each in by_kind(found).items() if each.leverage is not None}
    assert measured == {"species", "place"}  # one sample of five names it, then the probes' least
    assert len(measured) == int(DOUBTED * 5)
    assert len(words.asked) == 2 + len(measured)
    (unanimous,) = gather(checkpoint(words), ACTIVATION, [[written(FULL)] * 5], [spot(40)], [[]])
    assert {each.leverage for each in unanimous.evidence} == {None}


def test_the_shown_sample_is_the_one_that_comes_back_best():
    words = Words({"fox": 0.4}, [])
    (found,) = gather(checkpoint(words), ACTIVATION, [[written(None), written(OTHER), written(FULL)]], [spot(40)], [[]])
    assert found.explanation == FULL
    assert found.errors[0] is None


def test_recurrence_is_the_share_of_the_neighbours_that_make_the_claim():
    groups = [[written(FULL)], [written(OTHER)], [written(FULL)]]
    near = neighbours_of(["a", "a", "a"], [20, 21, 22])
    found = gather(checkpoint(), ACTIVATION.expand(3, 2), groups, [spot(20), spot(21), spot(22)], near)
    assert by_kind(found[0])["species"].recurrence == 0.5
    assert by_kind(found[1])["species"].recurrence == 0.0
    assert by_kind(found[1])["place"].recurrence == 1.0
    (alone,) = gather(checkpoint(), ACTIVATION, groups[:1], [spot(20)], [[]])
    assert by_kind(alone)["species"].recurrence is None


def test_neighbours_stand_within_two_tokens_of_the_same_text():
    assert neighbours_of(["a", "a", "a", "b", "a"], [5, 6, 8, 6, 9]) == [[1], [0, 2], [1, 4], [], [2]]


def test_log_probabilities_are_those_of_the_values_own_tokens():
    ids = TOKENIZER(FULL, add_special_tokens=False)["input_ids"]
    pieces = [TOKENIZER.decode([token]).strip() for token in ids]
    logprobs = [-float(place) for place in range(len(ids))]
    (found,) = gather(checkpoint(), ACTIVATION, [[written(FULL, logprobs)]], [spot(40)], [[]])
    assert by_kind(found)["place"].logprob == logprobs[pieces.index("harbor")]
    assert by_kind(found)["place"].logprob_min == logprobs[pieces.index("harbor")]
    assert by_kind(found)["mood"].logprob == logprobs[pieces.index("sad")]


def test_flags_context_and_norm_are_those_of_the_token():
    found = gather(checkpoint(), ACTIVATION.expand(2, 2), [[written(FULL)]] * 2, [spot(3), spot(40)], [[], []])
    early, late = (by_kind(each)["place"] for each in found)
    assert early.flags == ("early_position",)
    assert late.flags == ()
    assert late.norm == 2.0
    assert late.context is False  # "harbor" is among the last tokens
    assert by_kind(found[1])["mood"].context is True
    unknown = gather(checkpoint(), ACTIVATION, [[written(FULL)]], [replace(spot(40), row=None)], [[]])[0]
    assert by_kind(unknown)["mood"].context is None


def test_a_failed_parse_has_no_claims():
    (found,) = gather(checkpoint(), ACTIVATION, [[written(None)]], [spot(40)], [[]])
    assert (found.explanation, found.claims, found.evidence) == (None, (), ())
