"""How much of an activation do words of your own carry? The reconstructor reads any text.

python examples/score_your_own_words.py [CHECKPOINT]
"""

import sys

import legible

TEXT = "Our hero Pavel rested beside the desert. Strangers called his kind a fox. Pavel kept a hammer in the pocket."
GUESSES = ("Pavel the fox holds a hammer at the desert.", "Mira the wolf holds a candle at the harbor.")


def main(checkpoint: str = "builtin") -> None:
    reader = legible.load(checkpoint)
    scores = reader.score(GUESSES, reader.activations(TEXT, -1))
    for guess, score in zip(GUESSES, scores, strict=True):
        print(f"FVE {score.fve_token:6.2f}  {guess}")


if __name__ == "__main__":
    main(*sys.argv[1:])
