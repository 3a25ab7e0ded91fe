"""Errors of the operating system name path, setting and next step."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.cli.os_errors import FileError, check_target, named_files, os_error_line
from spinesearch.results.ledger.ledger import Ledger


def error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if path is None else [str(path)]))


def test_a_path_is_given_the_setting_that_it_comes_from(tmp_path: Path):
    places = {"runs_dir": tmp_path / "runs" / "a", "data.cache_dir": tmp_path / "cache"}
    for path, setting in (
        (tmp_path / "runs" / "a" / "lock", "runs_dir"),
        (tmp_path / "runs", "runs_dir"),
        (tmp_path / "cache" / "packs" / "x", "data.cache_dir"),
    ):
        line = os_error_line(error(errno.EACCES, path), places)
        assert line == f"{setting}: {path}: Permission denied; give another {setting}, which you may write to"
    elsewhere = os_error_line(error(errno.ENOENT, Path("/else/where")), places)
    assert elsewhere == "/else/where: No such file or directory"


def test_a_full_disk_without_a_path_names_what_lies_on_it(tmp_path: Path, monkeypatch):
    places = {"runs_dir": tmp_path, "data.cache_dir": Path("/dev")}
    both = os_error_line(error(errno.ENOSPC), places)
    assert both.startswith(f"runs_dir {tmp_path} or data.cache_dir /dev: No space left on device; make room")
    real = os.statvfs

    def statvfs(path):
        status = list(real(path))
        if Path(path) == tmp_path:
            status[4] = 0  # f_bavail
        return os.statvfs_result(status)

    monkeypatch.setattr(os, "statvfs", statvfs)
    line = os_error_line(error(errno.ENOSPC), places)
    assert line == (
        f"runs_dir {tmp_path}: No space left on device; make room there or give another runs_dir; "
        "what was written before is kept"
    )
    assert os_error_line(error(errno.ECONNRESET), places) == "Connection reset by peer"


def test_where_no_file_can_be_written_is_said_before_the_work(tmp_path: Path, monkeypatch):
    check_target("FILE", tmp_path / "a.json")
    check_target("FILE", Path("a.json"))
    with pytest.raises(FileError, match=r"FILE: .*/no/a.json: there is no folder .*/no; make it, or give"):
        check_target("FILE", tmp_path / "no" / "a.json")
    with pytest.raises(FileError, match=r"FILE: .*: is a folder; give a file"):
        check_target("FILE", tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FileError, match=r"FILE: .*a.json: its folder may not be written to; give another"):
        check_target("FILE", tmp_path / "a.json")


def test_other_errors_pass_unchanged(tmp_path: Path):
    with pytest.raises(KeyError), named_files({"runs_dir": tmp_path}):
        raise KeyError("x")
    with pytest.raises(FileError, match="runs_dir"), named_files({"runs_dir": tmp_path}):
        raise error(errno.EIO, tmp_path)


def test_folders_that_cannot_be_made(serial, tmp_path: Path, capsys):
    settings = [text for text in serial if not text.startswith("runs_dir")]
    for words in (["name=x"], []):
        message = "runs_dir: /proc/none: No such file or directory; give another runs_dir"
        fails(["search", *settings, "runs_dir=/proc/none", *words], message, capsys)
    fails(["search", *serial, f"name={'a' * 300}"], "runs_dir: .*: File name too long; give a sh", capsys)
    assert main(["search", *serial, "name=run", "search.num_trials=1"]) == 0
    run_dir = str(tmp_path / "runs" / "run")
    fails(["export", run_dir, "--output", "/proc/none"], "--output: /proc/none: No such file", capsys)
    with pytest.raises(SystemExit) as stopped:
        main(["export", run_dir, "--output", "s3://bucket/x"])
    assert stopped.value.code == 2
    assert "--output: must be a path on this machine, got the URL s3://b" in capsys.readouterr().err


def test_a_disk_that_fills_up_under_a_search(serial, capsys, monkeypatch):
    append, appended = Ledger.append, []

    def full(self, events, *arguments, **keywords):
        appended.append(events)
        if len(appended) == 3:
            raise error(errno.ENOSPC)
        return append(self, events, *arguments, **keywords)

    monkeypatch.setattr(Ledger, "append", full)
    command = ["search", *serial, "name=run", "search.num_trials=1"]
    fails(command, "runs_dir .*No space left on device; make room there", capsys)
    assert main(command) == 0


def test_a_working_folder_that_is_gone(tmp_path: Path):
    script = f'mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; exec "$@"'
    for words in (["search", "name=x"], ["export", "x"]):
        command = ["bash", "-c", script, "bash", sys.executable, "-m", "spinesearch", *words]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stderr
    assert "x: is not a run: there is no such folder" in result.stderr
