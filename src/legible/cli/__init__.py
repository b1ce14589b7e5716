"""The command line: parse, call, print. One file for each verb; no decisions are made here."""
