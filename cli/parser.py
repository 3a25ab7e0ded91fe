"""What the commands of the command line share: their parser, where they print, and how they fail."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

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


Command = Callable[[list[str]], int]
"""What carries a command out: its arguments in, its exit code out."""


class Described(Exception):  # noqa: N818 - it is no error
    """Carries out of a command what it takes, for `described`.

    Args:
        what: its parser, or its subcommands by their words.
    """

    def __init__(self, what: CommandParser | Mapping[str, Command]) -> None:
        super().__init__()
        self.what = what


_is_asked = ContextVar("is_asked", default=False)


def described(
    command: Command,
) -> CommandParser | Mapping[str, Command]:
    """What a command takes: its parser, or its subcommands by their words. It does nothing."""
    token = _is_asked.set(True)
    try:
        command(["--help"])
    except Described as found:
        return found.what
    finally:
        _is_asked.reset(token)
    raise AssertionError("a command without a parser")


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line, made by `command_parser`."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 after one line on standard error."""
        raise SystemExit(fail(f"{message}; see {self.prog} --help"))

    def print_help(self, file: Any = None) -> None:
        """Print it, unless it is `described` who asks."""
        if _is_asked.get():
            raise Described(self)
        super().print_help(file)

    def add_quiet(self) -> None:
        """Take ``-q``, for `build_console`."""
        self.add_argument("-q", "--quiet", action="store_true", help="print warnings and errors alone")

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


def run_subcommand(command: str, usage: str, commands: Mapping[str, Command], arguments: list[str]) -> int:
    """The exit code of the command that the first argument names; where none does, of the answer to that.

    Args:
        command: the word after ``spinesearch``.
        usage: what ``--help`` prints.
        commands: by their words.
        arguments: of the command line, after ``command``.
    """
    word = arguments[0] if arguments else "--help"
    if _is_asked.get():
        raise Described(commands)
    if word in ("--help", "-h"):
        print(usage, end="")
        return 0 if arguments else 2
    if word not in commands:
        names = f", {command} ".join(commands)
        one_of = "one of " if len(commands) > 1 else ""
        return fail(f"{command} {word}: there is no such command; give {one_of}{command} {names}")
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


def build_console(*, quiet: bool = False) -> Console:
    """Standard output, for tables and plain text; `cli.output` guards it. Quiet, it shows warnings alone."""
    from rich.console import Console

    # A file or pipe has no width; tables should not be cut to 80 columns there. Paths are no markup.
    width = None if sys.stdout.isatty() else 160
    return Console(width=width, markup=False, highlight=False, soft_wrap=True, quiet=quiet)


def print_next(console: Console, commands: Mapping[str, str]) -> None:
    """Print what to do now: commands, each with what it does."""
    if commands:
        console.print("next:")
    for command, purpose in commands.items():
        console.print(f"  {command}  # {purpose}")


def fail(message: str, *, code: int = 2) -> int:
    """The exit code, after one line on standard error."""
    print(f"spinesearch: {message}", file=sys.stderr)
    return code


def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM, which clusters send before they take a machine, ends a run as Ctrl-C does."""
    raise KeyboardInterrupt
