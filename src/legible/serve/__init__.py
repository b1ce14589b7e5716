"""The server: a documented HTTP API over loaded checkpoints, and the page that uses it.

One thread owns the models (`worker`); requests are generators of steps (`work`) that share its batches. Nothing in a
request names a file or a model: sources are what the server was started with.
"""
