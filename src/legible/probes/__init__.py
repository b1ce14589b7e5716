"""Probes and the token lookup: what an activation holds, and what its last tokens alone predict."""
