"""Languages: what is true of a text, words for it, and claims out of words."""
