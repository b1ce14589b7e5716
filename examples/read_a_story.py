"""Read a story of the built-in world and print what the model holds at the end of each sentence.

python examples/read_a_story.py [CHECKPOINT]
"""

import sys

import legible
from legible.languages.world import story_document


def main(checkpoint: str = "builtin") -> None:
    reader = legible.load(checkpoint)
    document = story_document("test", seed=0, index=1)
    for reading in reader.read(document, positions="20:"):
        if reading.token.strip() == ".":
            true = sum(claim.verdict == "true" for claim in reading.claims)
            score = "none" if reading.fve_token is None else f"{reading.fve_token:.2f}"
            print(f"{reading.pos:4}  FVE {score:>5}  {true}/{len(reading.claims)} true  {reading.explanation}")


if __name__ == "__main__":
    main(*sys.argv[1:])
