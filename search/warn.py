"""Warnings on the console of a command: `warn`."""

from __future__ import annotations

from rich.console import Console


def warn(console: Console, line: str) -> None:
    """Print a warning, on a quiet console too."""
    is_quiet, console.quiet = console.quiet, False
    try:
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    finally:
        console.quiet = is_quiet
