"""The parts of a run on a card, and the command that times them."""
