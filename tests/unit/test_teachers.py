"""Which teachers there are: settings that cannot be, languages, what activations show, and a local model."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from teaching import Server, row_of
from transformers import LlamaConfig, LlamaForCausalLM

from legible import languages
from legible.config import TeachConfig
from legible.errors import TeacherError, UsageError
from legible.labels import Label, Mark
from legible.languages.base import Row
from legible.languages.text import LANGUAGE as TEXT
from legible.languages.world import build_tokenizer, story_document
from legible.probes.probes import ProbeSet, known_labels
from legible.teachers import Explanation, Refusal, Teacher, make_teacher
from legible.teachers.limit import keep_from_probes
from legible.teachers.local import LocalTeacher
from legible.teachers.prompt import ask


@pytest.mark.parametrize(
    ("teacher", "match"),
    [
        ("magic", "unknown teacher 'magic', expected .*text, .*world, anthropic:.*, .*local:PATH.*openai"),
        ("openai:", "unknown teacher 'openai:'"),
        ("local:", "unknown teacher 'local:'"),
        ("openai:m", "OPENAI_API_KEY is not set"),
        ("anthropic:m", "ANTHROPIC_API_KEY is not set"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused_before_any_request(server: Server, teacher: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        make_teacher(TeachConfig(teacher=teacher))


def test_impossible_settings_are_refused(server: Server) -> None:
    with pytest.raises(UsageError, match=r"teach.concurrency is 0, expected at least 1"):
        make_teacher(TeachConfig(teacher=f"openai:m@{server.url}", concurrency=0))


def test_a_file_that_is_no_cache_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TeacherError, match=r"answers.sqlite is not a cache"):
        make_teacher(TeachConfig(teacher=f"openai:m@{server.url}"), cache=tmp_path / "answers.sqlite")


@pytest.mark.parametrize("name", ["text", "world"])
def test_a_language_teacher_states_only_what_it_may(name: str) -> None:
    teacher: Teacher = make_teacher(TeachConfig(teacher=name))
    language = languages.get(name)
    labels = {kind: Label((Mark(value),)) for kind, value in (("topic", "history"), ("tense", "past"))}
    document = replace(story_document("train", 0, 1), labels=labels)
    end = document.text.rindex(" ")
    row = Row(document, 40, end, end - 12, 5, 4, (), None)
    (free,) = teacher.write([row])
    kept = set(language.probe_kinds[:3])
    (limited,) = teacher.write([row], [kept])
    assert isinstance(free, Explanation)
    assert isinstance(limited, Explanation)
    written = {claim.relation for claim in language.parse(limited.text).claims if claim.value is not None}
    assert written & set(language.probe_kinds) <= kept
    assert {claim.relation for claim in limited.claims} < {claim.relation for claim in free.claims}


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown language 'latin', expected .*text.*world.* or none"):
        languages.get("latin")


def test_a_limited_teacher_keeps_what_the_activation_shows() -> None:
    generator = torch.Generator().manual_seed(0)
    topics = ("history", "geography", "technology")
    rows = [
        row_of(f"Number {i} met a dog and {'said' if i % 2 else 'thought'}{', “Yes' if i % 2 else ''}",
               topic=topics[i % 3])
        for i in range(300)
    ]  # fmt: skip
    vectors = torch.randn(300, 16, generator=generator)
    for i in range(300):
        vectors[i, i % 3] += 12.0  # the topic is in the vector, the quotation is not
    facts = [TEXT.facts(row) for row in rows]
    probes = ProbeSet.fit(vectors, known_labels(facts, ("topic", "in_quote")), [row.document.doc_id for row in rows])
    keep = Counter(kind for kinds in keep_from_probes(probes, vectors, rows, TEXT, threshold=0.8) for kind in kinds)
    assert keep["topic"] > 270
    assert keep["in_quote"] < 60
    with pytest.raises(UsageError, match="threshold is 2, expected a probability"):
        keep_from_probes(probes, vectors, rows, TEXT, threshold=2)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = build_tokenizer()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **shape))
    path = tmp_path_factory.mktemp("local")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_local_model_answers_every_row_the_same_way_each_time(small_model: Path, temperature: float) -> None:
    config = TeachConfig(teacher=f"local:{small_model}", max_tokens=12, temperature=temperature)
    rows = [row_of(f"Once upon a time there was number {i}") for i in range(10)]
    before = torch.get_rng_state()
    teacher = make_teacher(config)
    assert isinstance(teacher, LocalTeacher)
    first = teacher.write(rows)
    assert first == make_teacher(config).write(rows)
    assert len(first) == 10
    assert all(isinstance(result, Explanation | Refusal) for result in first)
    assert torch.equal(before, torch.get_rng_state())


def test_a_local_model_uses_its_chat_template_where_it_has_one(small_model: Path) -> None:
    teacher = LocalTeacher(str(small_model), TeachConfig(max_tokens=8))
    plain = teacher._prompt(ask("a passage"))
    teacher._tokenizer.chat_template = "{% for m in messages %}The user said {{ m['content'] }}{% endfor %} Now speak"
    chat_ids = teacher._prompt(ask("a passage"))
    assert chat_ids != plain
    assert all(isinstance(token, int) for token in chat_ids)


def test_a_local_model_without_room_for_the_request_says_so(small_model: Path) -> None:
    teacher = LocalTeacher(str(small_model), TeachConfig(max_tokens=2040))
    with pytest.raises(UsageError, match="has room for 8 prompt tokens"):
        teacher.write([row_of("once")])
