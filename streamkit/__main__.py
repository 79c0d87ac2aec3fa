"""`python -m streamkit` is the `streamkit` command."""

from streamkit.cli.main import main

if __name__ == "__main__":
    main()
