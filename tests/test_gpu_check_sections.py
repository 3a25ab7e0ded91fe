"""A section of the GPU check that fails, hangs or crashes costs only itself, and what it found is kept."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu"


SECTIONS_OF_ALL_KINDS = """
import os
import subprocess
import sys
import time

from check_parts import Part


def good(quick, emit):
    emit(Part(title="a", lines=["first"], values={"n": 1}))
    emit(Part(title="b", lines=["other"]))
    emit(Part(title="a", lines=["second"], values={"n": 2, "quick": quick}))


def bad(quick, emit):
    emit(Part(title="", lines=["measured"], problem="too slow"))


def raises(quick, emit):
    emit(Part(title="", lines=["before"]))
    raise RuntimeError("out of luck")


def crashes(quick, emit):
    emit(Part(title="", lines=["before"]))
    os.abort()


def hangs(quick, emit):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    emit(Part(title="", lines=["before"], values={"child": child.pid}))
    time.sleep(600)
"""


@pytest.fixture
def carried_out(tmp_path: Path, monkeypatch):
    """Runs a function above as a section; returns its outcome and the page it made."""
    monkeypatch.syspath_prepend(FOLDER)
    import gpu_check
    from check_report import Outcome, write_report
    from check_sections import Section

    (tmp_path / "kinds.py").write_text(SECTIONS_OF_ALL_KINDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(function: str, *, limit_s: float = 600.0):
        section = Section(name=function, title=function, weight=1, module="kinds", function=function)
        outcome = Outcome(section, limit_s=limit_s)

        def save() -> None:
            write_report(tmp_path, {"Command": "test"}, [outcome])
            if function == "hangs" and outcome.parts:
                outcome.limit_s = 0.0  # its time ends when it has begun to hang

        gpu_check.carry_out(outcome, tmp_path, tmp_path, quick=True, save=save)
        return outcome, (tmp_path / "gpu-check.md").read_text()

    return run


def test_a_part_takes_the_place_of_the_one_with_its_title(carried_out):
    outcome, page = carried_out("good")
    assert (outcome.status, outcome.reason) == ("passed", "")
    assert [part["values"] for part in outcome.parts] == [{"n": 2, "quick": True}, {}]
    assert "first" not in page
    assert page.index("second") < page.index("other")


@pytest.mark.parametrize(
    ("function", "status", "reason"),
    [
        ("bad", "failed", "too slow"),
        ("raises", "failed", "ended with an error"),
        ("crashes", "failed", "ended by SIGABRT"),
        ("hangs", "cut short", "ended after"),
    ],
)
def test_what_a_section_found_before_it_failed_is_kept(carried_out, function: str, status: str, reason: str):
    outcome, page = carried_out(function)
    assert outcome.status == status
    assert outcome.reason.startswith(reason)
    assert len(outcome.parts) == 1
    assert outcome.parts[0]["lines"][0] in page
    assert ("RuntimeError: out of luck" in page) == (function == "raises")
    if function == "hangs":  # what it had started is gone as well, or a zombie that nobody waits for
        stat = Path(f"/proc/{outcome.parts[0]['values']['child']}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_section_without_time_is_not_begun(carried_out):
    outcome, page = carried_out("crashes", limit_s=1.0)
    assert (outcome.status, outcome.parts) == ("not run", [])
    assert "no time was left" in page
