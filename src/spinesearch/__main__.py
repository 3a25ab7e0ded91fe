"""``python -m spinesearch``: the command line."""

from spinesearch.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
