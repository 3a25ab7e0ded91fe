"""The command line in forked children: for each JSON list of arguments one that carries that command out."""

from __future__ import annotations

import json
import os
import sys

from forked_work import serve

import spinesearch.search.session  # noqa: F401 - what takes long to import
from spinesearch.cli.main import main


def work(line: str) -> int:
    """Carry a command out, and print nothing."""
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to its end
    return main(json.loads(line))


if __name__ == "__main__":
    serve(work)
