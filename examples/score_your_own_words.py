"""How much of an activation do words of your own carry? The reconstructor reads any text.

python examples/score_your_own_words.py [CHECKPOINT]
"""

import sys

import torch

import legible
from legible.vectors import direction_mse, fve_token

TEXT = "Our hero Pavel rested beside the desert. Strangers called his kind a fox. Pavel kept a hammer in the pocket."
GUESSES = ("Pavel the fox holds a hammer at the desert.", "Mira the wolf holds a candle at the harbor.")


def main(checkpoint: str = "builtin") -> None:
    loaded = legible.load(checkpoint).checkpoint
    ids = torch.tensor([loaded.target.encode(TEXT).ids])
    vector = loaded.target.streams(ids, torch.ones_like(ids), (loaded.layer,))[loaded.layer][:, -1]
    for guess, back in zip(GUESSES, loaded.reconstructor.reconstruct(GUESSES), strict=True):
        mse = direction_mse(back[None], vector).item()
        print(f"FVE {fve_token(mse, loaded.variance):6.2f}  {guess}")


if __name__ == "__main__":
    main(*sys.argv[1:])
