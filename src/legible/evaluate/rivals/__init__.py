"""All instruments on the same rows under the same judge: the pair, its floors, and its rivals, one row each."""
