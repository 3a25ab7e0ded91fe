"""What a report holds: all of a run, in one file, however odd its texts."""

import base64
import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from report_runs import NOVEMBER, SECONDS, record_search

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.report.page import report_page
from spinesearch.results.report.source import read_source

LIBRARY = Path(__file__).parents[3] / "results/report/page/echarts.min.js"
ODD = '</script><script>alert("&")</script>'


def page_of(*run_dirs: Path) -> str:
    return report_page([read_source(path, name=path.name) for path in run_dirs], version="1.0")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="text/plain">([\w+/=]+)</script>', page)
    assert found is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return data


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return record_search(folder, reason=ODD, has_rungs=True, num_finalists=3)


@pytest.fixture(scope="module")
def page(run_dir: Path) -> str:
    return page_of(run_dir)


def test_a_page_is_one_file_without_any_address_to_load_from(page: str):
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    ours = page.replace(LIBRARY.read_text(), "")
    assert len(page) - len(ours) > 1e6
    assert not re.findall(
        r"https?:|<(?:link|img|iframe)\b|\bsrc=|@import|\burl\(|\bfetch\(",
        ours.replace("from http:// has", ""),
    )
    assert "default-src 'none'" in ours  # what a browser holds the library to
    assert len(page) < 1.5e6


def test_what_a_run_says_is_never_html(page: str, tmp_path: Path):
    assert data_of(page)["runs"][0]["failures"][0]["reason"] == ODD
    with Ledger(tmp_path / "run"):
        pass
    odd = report_page([read_source(tmp_path / "run", name=f"{ODD} {{{{data}}}}")], version="1.0")
    assert data_of(odd)["runs"][0]["name"] == f"{ODD} {{{{data}}}}"
    no_utf8 = report_page([read_source(tmp_path / "run", name=os.fsdecode(b"a\xff"))], version="1.0")
    assert "<title>a\ufffd - spinesearch report</title>" in no_utf8
    no_utf8.encode()
    for text in (page, odd):
        assert text.count("<script") == text.count("</script") == 3
    assert "<title>&lt;/script&gt;&lt;script&gt;" in odd
    assert "{{data}} - spinesearch report</title>" in odd  # nor does it stand for what the page has there


def test_what_a_run_s_data_are(page: str):
    (run,) = data_of(page)["runs"]
    candidates = run["candidates"]
    assert len(candidates["fates"]) == 64
    assert len(candidates["arch_ids"]) == 12 * 64
    assert len(candidates["tokens"]) == 64 * len(candidates["choices"]["decisions"])
    assert candidates["fates"][5] == "f"
    assert candidates["fates"][2] == "s"
    assert candidates["fates"].count("c") == 64 - 4 - 16
    assert candidates["predictions"][:8] == [None] * 8
    assert run["costs"] == ["num_multiply_adds", "num_parameters", "latency_ms"]
    assert run["latency_device"] == "cpu"
    assert set(run["fronts"]) == set(run["costs"])
    assert 10 < candidates["metrics"]["latency_ms"][0] < 20
    assert [row["length"] for row in run["rungs"]] == ["30 steps", "whole"]
    assert [row["stopped"] for row in run["rungs"]] == [16, None]
    assert run["failures"] == [{"reason": ODD, "trials": [5, 21, 37, 53]}]
    assert run["lost"]["count"] == 4
    assert run["coverage"]["unseen"] == [7]
    assert run["state"] == "complete"
    assert run["notes"] == []
    # Finalists, and the drawings of the best and the recommended.
    rows = run["finalists"]["rows"]
    assert sorted(row["baseline"] for row in rows) == ["", "", "", "spinenet49"]
    assert all(row["costs"]["num_multiply_adds"] == 130_000_000 for row in rows)
    assert [len(row["values"]) for row in rows] == [3, 3, 3, 3]
    assert run["best"][:3] == [row["trial"] for row in rows if not row["baseline"]]
    chosen = {front["recommended"] for front in run["fronts"].values()}
    assert {int(trial) for trial in run["drawings"]} == {*run["best"], *chosen}
    assert all(drawing.startswith("<svg") for drawing in run["drawings"].values())


def test_workers_and_hours(tmp_path: Path):
    """Two workers at a time for 32 x 30 s; every attempt that was lost took 5 s of a third."""
    (run,) = data_of(page_of(record_search(tmp_path / "run")))["runs"]
    work = run["work"]
    assert work["hours"]["candidates"] == pytest.approx(64 * SECONDS / 3600)
    assert work["hours"]["lost attempts"] == pytest.approx(4 * 5.0 / 3600)
    # The first lost attempt, of trial 3, ended as its second one began.
    assert work["elapsed_hours"] == pytest.approx(32 * SECONDS / 3600)
    assert work["active_hours"] == pytest.approx(32 * SECONDS / 3600)
    assert sum(work["busy"]) * work["step"] == pytest.approx(64 * SECONDS + 20.0, rel=1e-3)
    assert min(work["busy"]) == pytest.approx(2.0)
    assert run["prediction"]["count"] == 64 - 4 - 8 + 1  # trial 5 has failed and had no prediction
    assert run["prediction"]["error"] == pytest.approx(0.005, rel=0.3)


def test_of_a_damaged_run_what_stands_before_is_shown(tmp_path: Path):
    path = record_search(tmp_path / "run", num_trials=8) / LEDGER_NAME
    with Ledger(path.parent) as ledger:
        ledger.append([{"event": "stop", "time": 0.0}])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[10] = lines[10].replace(b":", b";", 1)
    path.write_bytes(b"".join(lines))
    (run,) = data_of(page_of(path.parent))["runs"]
    assert 1 <= len(run["candidates"]["fates"]) < 8
    assert re.search(r"line 11 is damaged: .*; what stands before it is read", run["notes"][0])
    # Damage that a checksum does not show: an event that contradicts the others.
    with Ledger(record_search(tmp_path / "other", num_trials=8, num_done=1)) as ledger:
        ledger.append([{"event": "propose", "trial": 99, "tokens": [], "arch_id": ""}])
    (run,) = data_of(page_of(tmp_path / "other"))["runs"]
    assert len(run["candidates"]["fates"]) == 8
    assert "does not fit: trial 8 should be proposed next, got 99" in run["notes"][0]


def test_runs_that_have_nothing_yet(tmp_path: Path):
    with Ledger(tmp_path / "empty"):
        pass
    record_search(tmp_path / "begun", num_done=0)
    record_search(tmp_path / "half", num_done=2)
    empty, begun, half = data_of(page_of(*(tmp_path / name for name in ("empty", "begun", "half"))))["runs"]
    assert empty["notes"] == ["no search has begun: there is nothing of it to show"]
    assert "candidates" not in empty
    assert begun["notes"] == ["no candidate has a result yet"]
    assert begun["best"] == []
    assert (half["notes"], half["state"]) == ([], "stopped")
    assert half["candidates"]["fates"].count("p") == 62
    with Ledger(tmp_path / "half"):
        (running,) = data_of(page_of(tmp_path / "half"))["runs"]
    assert running["state"].startswith("running: process ")


def test_runs_of_earlier_releases():
    (run,) = data_of(page_of(NOVEMBER.parent))["runs"]
    assert run["candidates"]["fates"] == "ccccc"
    assert run["coverage"] is None
    assert run["finalists"] is None
