"""How good readings are, beside what would be as good without them."""
