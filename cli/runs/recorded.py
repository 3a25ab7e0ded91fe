"""What ``show`` and ``export`` share: a run that is only read."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spinesearch.results.ledger.run import Run


def read_run(options: argparse.Namespace) -> Run:
    """The run of a command that only reads; prints its configuration if that is asked for."""
    from spinesearch.results.ledger.run import load_run

    run, torn = load_run(options.run_dir)
    if options.cfg:
        from spinesearch.search.config.as_yaml import to_yaml

        print(to_yaml(run.config), end="")
    elif torn:
        print(f"warning: {torn} (by this reader; the file is as it was)", file=sys.stderr)
    return run
