"""Editing words, steering by the difference they make, and measuring what it does."""
