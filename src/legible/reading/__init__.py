"""Reading with a checkpoint: evidence, calibrated probabilities, tables and pages of readings."""
