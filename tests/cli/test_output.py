"""A reader that goes away, a full disk, a closed output or a narrow encoding end output, and nothing else."""

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spinesearch.cli.main import main
from spinesearch.cli.output import OUTPUT_LOST, Output, guarded_output
from spinesearch.results.ledger.run import load_run

COMMAND = [sys.executable, "-m", "spinesearch"]


class FailingStream(io.StringIO):
    """Takes so many writes and then fails, as a pipe without a reader or a full disk does."""

    def __init__(self, num_writes: int, number: int = errno.EPIPE) -> None:
        super().__init__()
        self.num_left = num_writes
        self.number = number

    def write(self, text: str) -> int:
        if self.num_left == 0:
            raise OSError(self.number, os.strerror(self.number))
        self.num_left -= 1
        return super().write(text)


def test_what_cannot_be_written_is_dropped():
    stream = FailingStream(2)
    output = Output(stream)
    for word in ("one", "two", "three", "four"):
        assert output.write(word) == len(word)
    output.flush()
    assert stream.getvalue() == "onetwo"
    assert output.error is not None
    assert not output.isatty()


def test_characters_that_the_encoding_lacks_become_question_marks():
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii"))
    output.write("a · b ━ \udcff\n")
    output.flush()
    assert raw.getvalue() == b"a ? b ? ?\n"
    assert output.error is None


def test_a_closed_stream_is_lost_only_once_something_is_written():
    for words, code in (((), 0), (("text",), OUTPUT_LOST)):
        before = sys.stdout
        sys.stdout = None
        try:
            with guarded_output() as outputs:
                for word in words:
                    print(word)
                assert outputs.code(0) == code
                assert outputs.code(3) == 3
        finally:
            sys.stdout = before


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (errno.EPIPE, 0, ""),
        (errno.ENOSPC, OUTPUT_LOST, "finished, but its output could not be written: No space left on device"),
    ],
)
def test_a_search_whose_output_fails_ends_as_any_other(
    number, code, line, serial, tmp_path: Path, monkeypatch, capsys
):
    stream = FailingStream(3, number)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == code
    assert sys.stdout is stream
    assert line in capsys.readouterr().err
    run_dir = tmp_path / "runs" / "run"
    assert load_run(run_dir)[0].num_done == 1
    assert len(list((run_dir / "export").iterdir())) == 1


def test_a_terminal_that_goes_away_under_the_live_line(serial, tmp_path: Path, monkeypatch):
    class Terminal(FailingStream):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal(15, errno.EIO)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["search", *serial, "name=run", "search.num_trials=2"]) == OUTPUT_LOST
    assert stream.num_left == 0
    assert load_run(tmp_path / "runs" / "run")[0].num_done == 2


def shell(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = ["bash", "-c", f"set -o pipefail; {script}", "bash", *COMMAND, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('"$@" | head -1', 0),
        ('"$@" > /dev/full', OUTPUT_LOST),
        ('"$@" >&-', OUTPUT_LOST),
        ('"$@" >&- 2>&-', OUTPUT_LOST),
        ('PYTHONIOENCODING=ascii "$@" <&-', 0),
    ],
)
def test_show_with_real_pipes_and_files(script: str, code: int, recorded_run: Path):
    result = shell(script, "show", recorded_run)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") <= 1


def test_an_export_writes_its_files_though_its_output_is_lost(recorded_run: Path, tmp_path: Path):
    result = shell('"$@" > /dev/full', "export", recorded_run, "--output", tmp_path / "out")
    assert result.returncode == OUTPUT_LOST
    assert result.stderr == (
        "spinesearch: finished, but its output could not be written: No space left on device\n"
    )
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_help_and_configuration_count_as_output():
    for words in (["--help"], ["show", "--help"], ["search", "--cfg"]):
        assert shell('"$@" > /dev/full', *words).returncode == OUTPUT_LOST


def test_a_file_opened_later_does_not_become_standard_output(tmp_path: Path):
    """With descriptor 1 closed the ledger would have been descriptor 1, and prints would damage it."""
    code = (
        "import os; from spinesearch.cli.output import guarded_output\n"
        f"with guarded_output(), open({str(tmp_path / 'file')!r}, 'w') as file:\n"
        "    os.write(1, b'text'); os.write(2, b'text'); file.write(str(file.fileno() > 2))"
    )
    subprocess.run(["bash", "-c", '"$@" >&- 2>&- <&-', "bash", sys.executable, "-c", code], check=True)
    assert (tmp_path / "file").read_text() == "True"


@pytest.mark.slow
def test_a_search_with_everything_closed(recorded_run: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(recorded_run, copy)
    result = shell('"$@" >&- 2>&-', "resume", copy, "search.num_trials=2")
    assert result.returncode == OUTPUT_LOST
    assert load_run(copy)[0].num_done == 2
