"""``spinesearch completion``: a script that completes commands, options and settings, by the shell alone.

Everything that can be completed stands in the script, so that an answer starts no Python.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spinesearch.cli.machine.shells import BASH, FISH, ZSH
from spinesearch.cli.parser import Command, CommandParser, command_parser, described

_SHELLS = ("bash", "zsh", "fish")
# The sections whose settings a command takes, where these are not a search's.
_SECTIONS = {"train": ("", "train", "data"), "evaluate": ("data",)}
_OF_A_SEARCH = ("", "space", "proxy_task", "controller", "data", "search", "experiment")


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """What can follow a command.

    Attributes:
        command: its words, as ``spec show``.
        words: subcommands, or the choices of a positional argument.
        options: with their leading dashes.
        choices: of the options that have some.
        helps: of the options.
        takes_runs: whether it takes the names of runs.
        sections: whose settings it takes, "" for those outside all sections.
    """

    command: str
    words: tuple[str, ...]
    options: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    helps: Mapping[str, str]
    takes_runs: bool
    sections: tuple[str, ...]


def completion(arguments: list[str], commands: Mapping[str, Command]) -> int:
    """Run ``spinesearch completion``; returns its exit code.

    Args:
        arguments: of the command line.
        commands: all of them, by their words.
    """
    parser = command_parser(
        "completion",
        "Print a script that completes commands, options, runs and settings. It holds the settings of this\n"
        "release; after an update make it anew.",
        "examples:\n"
        "  spinesearch completion bash > ~/.local/share/bash-completion/completions/spinesearch\n"
        "  spinesearch completion zsh > ~/.spinesearch.zsh   # and in ~/.zshrc: source ~/.spinesearch.zsh\n"
        "  spinesearch completion fish > ~/.config/fish/completions/spinesearch.fish",
        has_config=False,
    )
    parser.add_argument("shell", choices=_SHELLS, help="which shell it is for")
    options = parser.parse_args(arguments)
    found = [one for name, command in commands.items() for one in _completed(name, command)]
    if options.shell == "fish":
        print(_fish(list(commands), found), end="")
    else:
        print(ZSH if options.shell == "zsh" else "", _bash(list(commands), found), sep="", end="")
    return 0


def _completed(name: str, command: Command) -> Iterator[Completed]:
    """What can follow a command, and each of its subcommands."""
    what = described(command)
    if not isinstance(what, CommandParser):
        yield Completed(
            command=name, words=tuple(what), options=(), choices={}, helps={}, takes_runs=False, sections=()
        )
        for word, subcommand in what.items():
            yield from _completed(f"{name} {word}", subcommand)
        return
    actions: list[argparse.Action] = what._actions  # argparse has no public list of them
    optional = [action for action in actions if action.option_strings]
    positional = [action for action in actions if not action.option_strings]
    takes_settings = any(action.dest == "overrides" for action in positional)
    yield Completed(
        command=name,
        words=tuple(str(word) for action in positional for word in action.choices or ()),
        options=tuple(option for action in optional for option in action.option_strings),
        choices={o: tuple(map(str, a.choices)) for a in optional if a.choices for o in a.option_strings},
        helps={option: action.help or "" for action in optional for option in action.option_strings},
        takes_runs=any("run" in f"{a.metavar} {a.help}".lower() for a in positional),
        sections=_SECTIONS.get(name, _OF_A_SEARCH) if takes_settings else (),
    )


def _settings() -> dict[str, list[str]]:
    """The words that settings begin with by section, each with its ``=``."""
    from spinesearch.search.config.sections import setting_types

    found: dict[str, list[str]] = {}
    for key in setting_types():
        found.setdefault(key.rpartition(".")[0], []).append(f"{key}=")
    return found


def _groups() -> dict[str, tuple[str, ...]]:
    """The choices of each group."""
    from spinesearch.search.config.sections import GROUPS, choices

    return {group: choices(group) for group in GROUPS}


def _bash(commands: list[str], found: list[Completed]) -> str:
    settings, groups = _settings(), _groups()
    cases, of_options = [], []
    for one in found:
        keys = [f"$_spinesearch_{section or 'top'}" for section in one.sections if section in settings]
        names = [f"{group}=" for group in one.sections if group in groups]
        offered = " ".join([*one.words, *one.options, *names, *keys])
        takes_runs = " runs=1" if one.takes_runs else ""
        cases.append(f'        "{one.command}") offered="{offered}"{takes_runs} ;;')
        of_options += [
            f'        "{one.command} {option}") values="{" ".join(words)}" ;;'
            for option, words in one.choices.items()
        ]
    lists = [f'_spinesearch_{section or "top"}="{" ".join(keys)}"' for section, keys in settings.items()]
    values = [f'        {group}) values="{" ".join(words)}" ;;' for group, words in groups.items()]
    with_subcommands = sorted({one.command.partition(" ")[0] for one in found if " " in one.command})
    return BASH.format(
        lists="\n".join(lists),
        commands=" ".join([*commands, "--help", "--version"]),
        cases="\n".join(cases),
        cases_of_options="\n".join(of_options),
        values="\n".join(values),
        subcommands="|".join(with_subcommands),
    )


def _fish(commands: list[str], found: list[Completed]) -> str:
    settings, groups = _settings(), _groups()
    lines = [f"complete -c spinesearch -n __fish_use_subcommand -f -a {shlex.quote(' '.join(commands))}"]
    for one in found:
        seen = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in one.command.split())
        head = f"complete -c spinesearch -n {shlex.quote(seen)}"
        keys = [key for section in one.sections for key in settings.get(section, ())]
        keys += [f"{group}={name}" for group in one.sections for name in groups.get(group, ())]
        if offered := " ".join([*one.words, *keys]):
            lines.append(f"{head} -f -a {shlex.quote(offered)}")
        if one.takes_runs:
            lines.append(f"{head} -a '(__spinesearch_runs)'")
        for option, text in one.helps.items():
            dashes = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            words = f" -x -a {shlex.quote(' '.join(one.choices[option]))}" if option in one.choices else ""
            lines.append(f"{head} {dashes}{words} -d {shlex.quote(text)}")
    return FISH.format(lines="\n".join(lines))
