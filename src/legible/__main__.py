"""`python -m legible`: the program, where no `legible` is on the path."""

from legible.cli.main import main

if __name__ == "__main__":
    main()
