"""The stages of a run, one object each: what a verb of the command line and `legible train` both carry out.

A stage holds its opened inputs; `identity()` says what its output depends on, and `run(out)` does the work, resumes
it after a kill, or finds it done.
"""
