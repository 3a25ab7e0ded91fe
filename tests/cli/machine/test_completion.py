"""Completion by the shells themselves, where they are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from spinesearch.cli.main import COMMANDS, main
from spinesearch.cli.parser import CommandParser, described

SETTINGS = "search.num_t", ["search.num_trials="]


def script(shell: str, folder: Path, capsys) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def run(folder: Path, *words: str) -> list[str]:
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
    return result.stdout.split("\n")[:-1]


def test_every_command_says_what_it_takes():
    for command in COMMANDS.values():
        what = described(command)
        for one in [command] if isinstance(what, CommandParser) else what.values():
            assert isinstance(described(one), CommandParser)


# Words typed, the last of which is completed, and what it may become.
COMPLETED = [
    (["sea"], ["search"]),
    (["search", SETTINGS[0]], SETTINGS[1]),
    (["search", "controller", "=", "ra"], ["random"]),  # as bash splits it
    (["search", "proxy_task", "="], ["all_outputs", "paper", "small"]),
    (["search", "controller=ra"], ["controller=random"]),  # as other shells give it
    (["train", "train.lr_"], ["train.lr_batch_size="]),
    (["train", "search.num"], []),
    (["evaluate", "data.val_im"], ["data.val_images="]),
    (["export", "--format", "on"], ["onnx"]),
    (["spec", "dr"], ["draw"]),
    (["proxy", "variance", "--see"], ["--seeds"]),
    (["show", "my"], ["my-run"]),
    (["search", "data.train_annotations", "=", "pla"], ["place.json"]),
]


def test_bash(tmp_path: Path, capsys):
    (tmp_path / "runs" / "my-run").mkdir(parents=True)
    (tmp_path / "runs" / "my-run" / "ledger.jsonl").touch()
    (tmp_path / "place.json").touch()
    path = script("bash", tmp_path, capsys)
    for words, expected in COMPLETED:
        code = (
            f"source {path}; COMP_WORDS=(spinesearch {' '.join(map(repr, words))}); COMP_CWORD={len(words)}; "
            '_spinesearch; for word in "${COMPREPLY[@]}"; do printf "%s\\n" "$word"; done'
        )
        assert run(tmp_path, "bash", "--norc", "-uc", code) == expected, words


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish(tmp_path: Path, capsys):
    path = script("fish", tmp_path, capsys)
    for line, expected in (
        ("spinesearch compl", ["completion"]),
        ("spinesearch search controller=ra", ["controller=random"]),
        (f"spinesearch search {SETTINGS[0]}", SETTINGS[1]),
        ("spinesearch spec val", ["validate"]),
        ("spinesearch export --format parq", ["parquet"]),
    ):
        found = run(tmp_path, "fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")
        assert [word.split("\t")[0] for word in found] == expected


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh(tmp_path: Path, capsys):
    """In an interactive shell as bare as can be, at a terminal: the key Tab, and what the line then is."""
    path = script("zsh", tmp_path, capsys)
    code = f"""
        zmodload zsh/zpty
        zpty shell 'PS1="" TERM=dumb zsh -f -i'
        zpty -w shell 'unsetopt zle_bracketed_paste; source {path}; echo rea""dy'
        zpty -r -m shell line '*ready*'
        zpty -w -n shell $'spinesearch search controller=ra\\t'
        zpty -r -m shell line '*controller=random*' && echo completed
    """
    assert run(tmp_path, "timeout", "50", "zsh", "-f", "-c", code)[-1] == "completed"
