"""What the commands of the command line share: their parser, where they print, and how they fail."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console


class CommandError(Exception):
    """Ends a command whose last message was printed already.

    Args:
        code: the command's exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line, made by `command_parser`."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 after one line on standard error."""
        raise SystemExit(fail(f"{message}; see {self.prog} --help"))

    def add_overrides(self, text: str) -> None:
        """Take settings, ``key=value``, in ``overrides``; ``text`` is their help."""
        self.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=text)

    def parse_with_overrides(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options of a command that takes settings, which may stand among them.

        An unknown option is answered with the setting that may be meant: ``--num-trials 5``.
        """
        options, unknown = self.parse_known_intermixed_args(arguments)
        if not unknown:
            return options
        from spinesearch.search.config.config_errors import option_hint

        word, equals, value = unknown[0].partition("=")
        if not equals:
            value = "".join(arguments[list(arguments).index(unknown[0]) + 1 :][:1])
        hint = option_hint(word, value if value and not value.startswith("-") else None)
        self.error(f"{word}: {hint or 'there is no such option'}")


def command_parser(command: str, description: str, epilog: str, *, has_config: bool = True) -> CommandParser:
    """Parser of a command, whose errors are one line on standard error and exit code 2.

    Args:
        command: the word after ``spinesearch``.
        description: what it does, one or two sentences.
        epilog: examples, laid out as they are to be shown.
        has_config: whether the command has a run's configuration, which ``--cfg`` prints.
    """
    parser = CommandParser(
        prog=f"spinesearch {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if has_config:
        parser.add_argument("--cfg", action="store_true", help="print the configuration and stop")
    return parser


def run_subcommand(
    command: str, usage: str, commands: Mapping[str, Callable[[list[str]], int]], arguments: list[str]
) -> int:
    """The exit code of the command that the first argument names; where none does, of the answer to that.

    Args:
        command: the word after ``spinesearch``.
        usage: what ``--help`` prints.
        commands: by their words.
        arguments: of the command line, after ``command``.
    """
    word = arguments[0] if arguments else "--help"
    if word in ("--help", "-h"):
        print(usage, end="")
        return 0 if arguments else 2
    if word not in commands:
        names = f", {command} ".join(commands)
        return fail(f"{command} {word}: there is no such command; give one of {command} {names}")
    return commands[word](arguments[1:])


def path_argument(text: str) -> Path:
    """The path of an option; a leading ``~`` that the shell left is the home folder, and a URL is refused.

    Raises:
        ArgumentTypeError: it is a URL; argparse puts the option's name in front.
    """
    from spinesearch.search.config.overrides import local_path

    try:
        return Path(local_path("", text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix(": ")) from error


def build_console() -> Console:
    """Standard output, for tables and plain text; `cli.output` guards it."""
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
