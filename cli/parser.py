"""What the commands of the command line share: their parser, where they print, and how they fail."""

from __future__ import annotations

import argparse
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console


def command_parser(
    command: str, description: str, epilog: str, *, has_config: bool = True
) -> argparse.ArgumentParser:
    """Parser of a command, whose errors are one line on standard error and exit code 2.

    Args:
        command: the word after ``spinesearch``.
        description: what it does, one or two sentences.
        epilog: examples, laid out as they are to be shown.
        has_config: whether the command has a run's configuration, which ``--cfg`` prints.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise SystemExit(fail(f"{message}; see spinesearch {command} --help"))

    parser = Parser(
        prog=f"spinesearch {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if has_config:
        parser.add_argument("--cfg", action="store_true", help="print the configuration and stop")
    return parser


def build_console() -> Console:
    """Standard output, for tables and plain text."""
    from rich.console import Console

    # A file or pipe has no width; tables should not be cut to 80 columns there. Paths are no markup.
    width = None if sys.stdout.isatty() else 160
    return Console(width=width, markup=False, highlight=False, soft_wrap=True)


def fail(message: str, *, code: int = 2) -> int:
    """The exit code, after one line on standard error."""
    print(f"spinesearch: {message}", file=sys.stderr)
    return code


def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM, which clusters send before they take a machine, ends a run as Ctrl-C does."""
    raise KeyboardInterrupt
