"""Activations on disk: capture, the memory-mapped store, exchange files and batches."""
