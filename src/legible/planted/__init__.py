"""Planted secrets: pairs of targets that differ on identical text, made and read."""
