"""Targets that differ on identical text, made and read: planted secrets of the world, conducts of chat models."""
