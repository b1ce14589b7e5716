"""The command line: parse, call, print. One file a verb; nothing here decides anything."""
