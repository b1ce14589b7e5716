"""Instruments that see the text and no activation: the target asked in words, or shown examples; by plain forwards."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from legible.documents import Document
from legible.engines.continuations import continue_text
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.instruments.asked import Asked
from legible.instruments.k_shot import ANSWER, TEXT, KShot
from legible.instruments.lens import first_tokens
from legible.languages import get
from legible.languages.base import Row
from legible.languages.world.grammar import accepts
from legible.languages.world.lexicon import VALUES
from legible.languages.world.stories import story_document
from legible.languages.world.tokenizer import build_tokenizer
from legible.models import Target
from legible.reading.rows import rows_of

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORLD = get("world")


def made(*, chat: bool = False, context: int = 512) -> Target:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT if chat else None
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=context, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.15)
    return Target(model, tokenizer, "tiny")


def rows(target: Target, places: tuple[int, ...] = (9, 14), *, first: int = 0, documents: int = 2) -> list[Row]:
    found = []
    for number in range(first, first + documents):
        document = story_document("dev", 5, number)
        encoded = target.encode(document.text)
        of_pos = {row.pos: row for row in rows_of(document, encoded.ids, encoded.offsets)}
        found += [of_pos[place] for place in places]
    return found


def others(target: Target) -> Sample:
    given = rows(target, (12, 30), first=20, documents=8)
    return Sample(torch.zeros(len(given), 32), given, [dict(WORLD.facts(row)) for row in given])


def plain_logits(target: Target, ids: list[int]) -> torch.Tensor:
    return target.logits(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[0, -1]


def bare(target: Target, text: str) -> list[int]:
    return list(target.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_an_answer_is_the_targets_own_choice_among_the_first_tokens():
    target = made()
    given = rows(target)
    for row, said in zip(given, Asked(target, 1, WORLD).read(torch.zeros(4, 32), given), strict=True):
        assert {one.claim.relation for one in said.claims} == set(VALUES)
        ids = target.encode(row.document.text).ids[: row.pos + 1]
        for one in said.claims:
            kind = one.claim.relation
            values, tokens = first_tokens(target, VALUES[kind])
            logits = plain_logits(target, [*ids, *bare(target, f"\n\n{WORLD.cloze(kind, row.prefix)}")])
            shares = logits[tokens].softmax(-1)
            assert one.claim.value == values[int(shares.argmax())]
            assert one.score == pytest.approx(float(shares.max()), abs=1e-4)


def test_a_chat_model_is_shown_the_text_and_the_few_values_in_its_template():
    target = made(chat=True, context=1024)
    asked, row = Asked(target, 1, WORLD), rows(target)[0]
    ids = target.encode(row.document.text).ids[: row.pos + 1]
    prompts = dict(zip(VALUES, asked._prompts(ids, row.prefix), strict=True))
    shown = target.tokenizer.decode(prompts["mood"])
    assert shown.startswith("<|user|>")
    assert shown.count(row.prefix) == 1
    assert ", ".join(VALUES["mood"]) in shown
    assert shown.endswith(f"<|assistant|>{WORLD.cloze('mood', row.prefix)}")
    claims = {one.claim.relation: one for one in asked.read(torch.zeros(1, 32), [row])[0].claims}
    values, tokens = first_tokens(target, VALUES["mood"])
    shares = plain_logits(target, prompts["mood"])[tokens].softmax(-1)
    assert claims["mood"].claim.value == values[int(shares.argmax())]


@pytest.mark.parametrize("make", [Asked, lambda *given: KShot(*given, others(given[0]), max_tokens=8)])
def test_a_black_box_sees_the_text_and_no_activation(make):
    target = made()
    given, box = rows(target), make(target, 1, WORLD)
    read = box.read(torch.zeros(4, 32), given)
    assert read == box.read(torch.randn(4, 32), given)
    assert [box.read(torch.zeros(1, 32), [row])[0] for row in given] == read
    with pytest.raises(UsageError, match="needs the row of every vector"):
        box.read(torch.zeros(4, 32))
    with pytest.raises(UsageError, match=r"shape \(4, 8\), expected \[n, 32\]"):
        box.read(torch.zeros(4, 8), given)


def test_a_long_text_loses_its_beginning():
    target = made(context=72)
    row = rows(target, (60,), documents=1)[0]
    ids = target.encode(row.document.text).ids[: row.pos + 1]
    prompts = Asked(target, 1, WORLD)._prompts(ids, row.prefix)
    assert max(map(len, prompts)) <= 72
    kept = len(prompts[0]) - len(bare(target, f"\n\n{WORLD.cloze(next(iter(VALUES)), row.prefix)}"))
    assert all(prompt[:kept] == ids[-kept:] for prompt in prompts)
    assert 0 < kept < len(ids)
    assert Asked(target, 1, WORLD).read(torch.zeros(1, 32), [row])[0].claims
    with pytest.raises(UsageError, match="leaves no room for a text"):
        Asked(made(context=8), 1, WORLD).read(torch.zeros(1, 32), [row])


def test_a_language_without_listed_values_cannot_be_asked(monkeypatch):
    monkeypatch.setattr(type(WORLD), "values", {})
    with pytest.raises(UsageError, match="lists no values"):
        Asked(made(), 1, WORLD)


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_the_world_is_asked_in_sentences_of_its_stories(kind):
    cloze = WORLD.cloze(kind, "Once there lived a fox called Mira. Mira wanted the ring.")
    assert all(accepts(f"{cloze} {value}", cut=True) for value in VALUES[kind])


def test_every_listed_kind_of_the_text_language_has_words_to_ask_with():
    text = get("text")
    clozes = {kind: text.cloze(kind, "The cat sat") for kind in text.values}
    assert len(set(clozes.values())) == len(clozes)
    assert clozes["topic"] == "The topic of the text is"
    assert clozes["in_quote"] == "A quote is open. Is this right, yes or no? The answer is"


def test_examples_are_the_teachers_words_for_other_documents():
    target = made()
    box = KShot(target, 1, WORLD, others(target), k=3)
    assert (len(box.examples), box.needs.labels, box.needs.texts) == (3, 3, 3)
    for row, said in box.examples:
        assert {claim.key for claim in WORLD.parse(said).claims} == {claim.key for claim in WORLD.taught(row)}
    assert box.examples == KShot(target, 1, WORLD, others(target), k=3).examples
    assert box.examples != KShot(target, 1, WORLD, others(target), k=3, seed=1).examples


@pytest.mark.parametrize("chat", [False, True])
def test_what_is_written_behind_the_examples_is_the_targets_greedy_continuation(chat):
    target = made(chat=chat, context=1024)
    box, given = KShot(target, 1, WORLD, others(target), k=2, max_tokens=12), rows(target)
    for row, said in zip(given, box.read(torch.zeros(4, 32), given), strict=True):
        shots = [(f"{TEXT} {one.prefix}", text) for one, text in box.examples]
        if chat:
            turns = "".join(f"<|user|>{shown}<|end|><|assistant|>{text}<|end|>" for shown, text in shots)
            prompt = f"{turns}<|user|>{TEXT} {row.prefix}<|end|><|assistant|>"
        else:
            prompt = "\n\n".join(
                [*(f"{shown}{ANSWER} {text}" for shown, text in shots), f"{TEXT} {row.prefix}{ANSWER}"]
            )
        ids = target.encode(prompt).ids
        written = continue_text(target, ids, samples=1, max_tokens=12, temperature=0.0, stop_ids=target.end_ids)[0]
        text = target.tokenizer.decode(written, skip_special_tokens=True)
        assert said.text == said.words == (" ".join(text.split("\n\n")[0].partition(TEXT)[0].split()) or None)
        assert [one.claim for one in said.claims] == WORLD.parse(said.text or "").claims
        assert all(one.score is None for one in said.claims)


def test_examples_and_text_fit_the_context_or_there_are_none():
    target = made(context=160)
    box = KShot(target, 1, WORLD, others(target), max_tokens=24)
    assert 1 <= len(box.examples) < 4
    long = rows(target, (100,), documents=1)[0]
    assert len(box._prompt(target.encode(long.document.text).ids[:101])) + 24 <= 160
    with pytest.raises(UsageError, match="serves as an example"):
        KShot(made(context=40), 1, WORLD, others(target), max_tokens=24)
    unknown = [Row(Document("x", "Nobody knows this."), 2, 6, 0, 5, 4)]
    with pytest.raises(UsageError, match="the teacher knows nothing"):
        KShot(target, 1, WORLD, Sample(torch.zeros(1, 32), unknown, [{}]))
