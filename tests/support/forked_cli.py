"""The command line in forked children, which are killed without the import of torch each time.

``python forked_cli.py`` imports everything once; for each line on its standard input, a JSON list of
arguments, it forks a child that carries that command out; it answers with the child's process id and, when
the child has ended, its exit code.
"""

from __future__ import annotations

import json
import os
import sys

import spinesearch.search.session  # noqa: F401 - what takes long to import
from spinesearch.cli.main import main


def serve() -> None:
    """Carry commands out until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to its end
            os._exit(main(json.loads(line)))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
