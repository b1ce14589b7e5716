"""The stranger test of docs/architecture.md: a language is one folder, a teacher one file; nobody asks for names."""

import ast
import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import legible
from legible import languages, teachers
from legible.config import RunConfig, TeachConfig
from legible.documents import Document
from legible.errors import ConfigError, ContractError, UsageError
from legible.evaluate.claims import judge_texts
from legible.evaluate.llm_judge import is_asked
from legible.evaluate.sample import Sample
from legible.languages.base import Row, judge
from legible.reading.locate import locate
from legible.reading.opening import load_checkpoint
from legible.recipes import resolve
from legible.recipes.sources import DocumentSource, language_of
from legible.teachers import Explanation, make_teacher, read_taught, teach
from legible.teachers.judge import make_judge

LANGUAGE = '''
"""Whether a text counts up, and where it stands: the language of a stranger."""

from legible.documents import Document
from legible.languages.base import Claim, Fact, Language, Parsed


class Counting(Language):
    name = "counting"
    kinds = ("number", "parity")
    probe_kinds = ("parity",)
    bounded = True

    def facts(self, row):
        if not self.knows(row.document) or not row.prefix.split():
            return {}
        number = row.prefix.split()[-1]
        return {
            "number": Fact("number", "stated", (number,)),
            "parity": Fact("parity", "implied", ("odd" if int(number) % 2 else "even",)),
        }

    def write(self, claims, row, seed, *, held_out=False):
        return " ".join(f"The {claim.relation} is {claim.value}." for claim in claims)

    def parse(self, explanation):
        parsed = Parsed()
        for sentence in explanation.split(". "):
            words = sentence.rstrip(".").split()
            if len(words) == 4 and words[1] in self.kinds:
                parsed.claims.append(Claim(sentence, words[1], words[3]))
            else:
                parsed.unparsed.append(sentence)
        return parsed

    def in_context(self, claim, row):
        return claim.relation == "parity"

    def knows(self, document):
        return document.doc_id.startswith("counting-")

    def documents(self, split, seed, count, *, skip=0, sentences=None):
        texts = {n: " ".join(map(str, range(1, n + 4))) for n in range(skip, count + skip)}
        return [Document(f"counting-{split}-{seed}-{n}", text) for n, text in texts.items()]


LANGUAGE = Counting()
'''
TEACHER = '''
"""A teacher who says the last word back."""

from legible.teachers.base import Explanation, Offer


class Echo:
    def __init__(self, config):
        self.name = config.teacher

    def write(self, rows, keep=None):
        return [Explanation(f"It said {row.prefix.split()[-1]}.") for row in rows]


TEACHER = Offer("echo", lambda config, cache, role: Echo(config))
'''


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A language in a folder and a teacher in a file, put beside ours."""
    (tmp_path / "languages" / "counting").mkdir(parents=True)
    (tmp_path / "languages" / "counting" / "__init__.py").write_text(LANGUAGE, encoding="utf-8")
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "echo.py").write_text(TEACHER, encoding="utf-8")
    monkeypatch.setattr(languages, "__path__", [*languages.__path__, str(tmp_path / "languages")])
    monkeypatch.setattr(teachers, "__path__", [*teachers.__path__, str(tmp_path / "teachers")])
    importlib.invalidate_caches()
    yield
    for name in ("legible.languages.counting", "legible.teachers.echo"):
        sys.modules.pop(name, None)


def rows_of(documents: list[Document]) -> list[Row]:
    return [Row(doc, 3, len(doc.text), max(0, len(doc.text) - 3), 5, 4) for doc in documents]


class Rows:
    """A store of rows."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int, /) -> Row:
        return self.rows[index]


def test_a_language_is_a_folder_of_its_own_name() -> None:
    assert {"text", "world"} <= set(languages.names())
    for name in languages.names():
        assert languages.get(name).name == name
    assert legible.languages.get("world").parse("The hero is a fox.").claims[0].value == "fox"


@pytest.mark.usefixtures("stranger")
def test_a_strangers_language_is_found_teaches_and_is_judged(tmp_path: Path) -> None:
    language = languages.get("counting")
    rows = rows_of(DocumentSource(None, 7, "counting").documents("train", 3))
    teacher = make_teacher(TeachConfig(teacher="counting"))
    counts = teach(Rows(rows), teacher, tmp_path / "teach.jsonl", keep=[{"parity"}, set(), {"parity"}])
    assert counts == {"rows": 3, "written": 3, "refused": 0}
    taught = list(read_taught(tmp_path / "teach.jsonl"))
    assert [row.text for row in taught] == [
        "The number is 3. The parity is odd.",
        "The number is 4.",
        "The number is 5. The parity is odd.",
    ]
    facts = [language.facts(row) for row in rows]
    claims = [language.parse(str(row.text)).claims for row in taught]
    assert {judge(claim, known) for said, known in zip(claims, facts, strict=True) for claim in said} == {"true"}
    assert judge(language.parse("The parity is even.").claims[0], facts[0]) == "false"
    sample = Sample(torch.zeros(3, 2), rows, facts)
    judged = judge_texts([row.text for row in taught], sample, language)
    assert [(item.verdict, item.context) for item in judged if item.row == 0] == [("true", False), ("true", True)]
    assert all(is_asked(item, language) for item in judged)


@pytest.mark.usefixtures("stranger")
def test_what_a_strangers_language_does_not_declare_it_cannot_do() -> None:
    language = languages.get("counting")
    document = Document("counting-a", "1 2 3")
    row = rows_of([document])[0]
    assert (language.tells, language.changeable, language.paraphrases, language.entropy(document)) == (
        False, (), False, None,
    )  # fmt: skip
    assert language.without_copied('It "is 3" now.', row, 0) == "It now."
    assert language.in_plain_words(language.parse("The number is 3.").claims[0]) == "The number is 3. (number: 3)"
    assert language.left_at("anything") is None


@pytest.mark.usefixtures("stranger")
def test_a_run_takes_its_language_from_its_teacher_and_its_texts() -> None:
    assert language_of("counting", None) == "counting"
    assert language_of("counting", "texts.jsonl") is None
    assert (language_of("world", None), language_of("world", "texts.jsonl")) == ("world", None)
    assert (language_of("text", None), language_of("text", "texts.jsonl")) == ("world", "text")
    assert (language_of("echo", None), language_of("echo", "texts.jsonl")) == ("world", None)
    with pytest.raises(ConfigError, match="the counting's teacher knows only the counting's stories"):
        resolve("tiny", corpus="texts.jsonl", teacher="counting")
    with pytest.raises(UsageError, match="the language 'text' cannot write texts"):
        DocumentSource(None, 0, "text").documents("train", 1)


@pytest.mark.usefixtures("stranger")
def test_a_strangers_teacher_is_found_by_its_files_name() -> None:
    teacher = make_teacher(TeachConfig(teacher="echo"))
    assert teacher.write(rows_of([Document("d", "1 2 3")])) == [Explanation("It said 3.")]
    with pytest.raises(UsageError, match=r"expected .*counting, .*text, .*local:PATH, .*or echo\."):
        make_teacher(TeachConfig(teacher="nobody"))
    with pytest.raises(UsageError, match="unknown judge 'echo:x'"):
        make_judge("echo:x")


def test_a_checkpoint_of_an_unknown_language_says_which_there_are(tmp_path: Path) -> None:
    shutil.copytree(locate("builtin").folder, tmp_path / "pair")
    contract = tmp_path / "pair" / "av" / "nla_meta.yaml"
    known = contract.read_text(encoding="utf-8")
    contract.write_text(known.replace("language: world", "language: latin"), encoding="utf-8")
    said = (
        r"nla_meta.yaml: the claims .* of the language 'latin', expected text, world or none\.\n(.|\n)*language: null"
    )
    with pytest.raises(ContractError, match=said):
        load_checkpoint(tmp_path / "pair")
    contract.write_text(known.replace("language: world", "language: null"), encoding="utf-8")
    reading = legible.load(tmp_path / "pair").read("The fox sat by the sea.", positions="-1")[0]
    assert reading.claims
    assert {(claim.relation, claim.p_true) for claim in reading.claims} == {(None, None)}


def test_only_its_own_stories_are_known_to_the_world() -> None:
    world = languages.get("world")
    (story,) = world.documents("test", 0, 1) or ()
    assert world.knows(story)
    assert world.knows(Document(story.doc_id, story.text[:40]))
    for other in (
        Document(story.doc_id, "The bank raised rates."),
        Document("world-x", "A."),
        Document("7", story.text),
    ):
        assert not world.knows(other)
        assert world.facts(rows_of([other])[0]) == {}


def test_no_name_of_a_language_or_teacher_is_compared_with() -> None:
    root = Path(legible.__file__).parent
    known = {*languages.names(), *teachers.offers()}
    assert {"world", "text", "openai", "anthropic", "local"} <= known
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if path.parent.parent != root / "languages" and any(_names(part, known) for part in _compared(node))
    ]
    assert found == []


def _compared(node: ast.AST) -> list[ast.AST]:
    """The parts of a node that a value is compared with."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call):
        return list(node.args) if getattr(node.func, "attr", "") in ("startswith", "endswith") else []
    if isinstance(node, ast.MatchValue):
        return [node.value]
    return [node.slice] if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal" else []


def _names(part: ast.AST, known: set[str]) -> bool:
    """Whether it is a text that is one of the names, or begins with one as an id or a configuration does."""
    texts = [node.value for node in ast.walk(part) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return any(re.split(r"[-:]", text)[0] in known for text in texts)


def test_the_run_configuration_knows_no_names() -> None:
    assert RunConfig().teach.teacher in languages.names()
    assert TeachConfig(teacher="nobody").teacher == "nobody"
