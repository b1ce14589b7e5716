"""How often the taggers of `legible corpus`, and its rule for head nouns, are wrong: `corpora.taggers.ERRORS`.

    python benchmarks/taggers.py --wikipedia summaries_en-us.json --brown DIR

- people, places: of the names found in 40 Wikipedia summaries drawn by seed, the share that a reader marked as no
  person, or no place (`WRONG`); names that the tagger misses do not count.
- tense: of the sentences of the Brown corpus, the share in which the first finite verb by spaCy's tags and by the
  hand-made tags differ in tense. Brown does not tell the infinitive from the present of most verbs: sentences whose
  first verb is such a one do not count.
- about: of 100 head nouns drawn by seed, the share that a reader marked as wrong (`WRONG_HEADS`).
"""

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from legible.corpora.heads import head_noun
from legible.corpora.taggers import SpacyTagger, tense_of
from legible.stats import share_interval

WRONG = {
    "person": "Estado_Novo Lạc_Việt CE_Roman Novo_Mesto Nova_Gorica",
    "place": "Psycho Adivasi Pitcairnia Garden_City Afroasiatic Tifinagh Bombyx Punicoideae Grand_Duke Western_United "
    "Josephus",
}
WRONG_HEADS = ("Viral disease affecting humans",)
BROWN = {
    "past": ("vbd", "bed", "bedz", "hvd", "dod"),
    "present": ("vbz", "bez", "bem", "ber", "hvz", "doz"),
    "unclear": ("vb", "hv", "do", "be"),
}
PENN_OF_MODAL = "md"


def names(wikipedia: Path, tagger: SpacyTagger) -> dict[str, Any]:
    """Wrong names in the summaries that were read by hand."""
    articles = list(json.loads(wikipedia.read_text(encoding="utf-8")).values())
    texts = [article["extract"] for article in random.Random(5).sample(articles, 40)]
    found: dict[str, list[float]] = {"person": [], "place": []}
    documents: dict[str, list[str]] = {"person": [], "place": []}
    for number, labels in enumerate(tagger.tag(texts)):
        for kind, wrong in WRONG.items():
            values = [mark.value.replace(" ", "_") for mark in labels[kind].marks]
            found[kind] += [float(value in wrong.split()) for value in values]
            documents[kind] += [str(number)] * len(values)
    return {kind: share_interval(found[kind], [1.0] * len(found[kind]), documents[kind]).as_dict() for kind in found}


def tense(brown: Path, tagger: SpacyTagger, sentences: int) -> dict[str, Any]:
    """Sentences of the Brown corpus whose tense by spaCy is not that of the hand-made tags."""
    wrong, documents, unclear = [], [], 0
    for name, words, tags in _brown(brown, sentences):
        gold = _gold(words, tags)
        if gold is None:
            unclear += 1
            continue
        read = tagger.words(words)
        found = tense_of(read)
        wrong.append(float(found is None or found[1] != gold))
        documents.append(name)
    return {**share_interval(wrong, [1.0] * len(wrong), documents).as_dict(), "unclear": unclear}


def heads(wikipedia: Path) -> dict[str, Any]:
    """Wrong head nouns among those that were read by hand."""
    articles = list(json.loads(wikipedia.read_text(encoding="utf-8")).values())
    named = [one["description"] for one in articles if one["description"] and head_noun(one["description"])]
    drawn = random.Random(7).sample(named, 100)
    wrong = [float(description in WRONG_HEADS) for description in drawn]
    shown = {description: head_noun(description) for description in drawn}
    found = share_interval(wrong, [1.0] * 100, [str(number) for number in range(100)]).as_dict()
    return {**found, "coverage": len(named) / len(articles), "drawn": shown}


def _brown(folder: Path, count: int) -> Iterator[tuple[str, list[str], list[str]]]:
    lines = [
        (path.name, line.split())
        for path in sorted(folder.glob("c[a-r][0-9][0-9]"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    for name, pieces in random.Random(0).sample(lines, min(count, len(lines))):
        pairs = [piece.rsplit("/", 1) for piece in pieces if "/" in piece]
        yield name, [word for word, _ in pairs], [re.sub(r"-(?:tl|hl|nc)", "", tag) for _, tag in pairs]


def _gold(words: list[str], tags: list[str]) -> str | None:
    """The tense of the first finite verb by Brown's tags; None where they do not say."""
    for word, tag in zip(words, tags, strict=True):
        base = tag.split("+")[0].rstrip("*")
        if base == PENN_OF_MODAL:
            found = tense_of([(word.removesuffix("n't"), "MD")])
            return found[1] if found is not None else None
        for value, known in BROWN.items():
            if base in known:
                return None if value == "unclear" else value
        if any(part in known for part in tag.split("+")[1:] for known in BROWN.values()):
            return None
    return None


def main() -> None:
    """Measure what the files allow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("wikipedia", "brown"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--sentences", type=int, default=3000)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    tagger = SpacyTagger() if args.wikipedia or args.brown else None
    if args.wikipedia and tagger is not None:
        found |= {**names(args.wikipedia, tagger), "about": heads(args.wikipedia)}
    if args.brown and tagger is not None:
        found["tense"] = tense(args.brown, tagger, args.sentences)
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
