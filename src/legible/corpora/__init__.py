"""Labelled corpora: texts with what is known of them, split by document, and the taggers that find what they lack."""
