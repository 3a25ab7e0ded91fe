"""`proxy_task.evaluator` on the command line: who counts AP is a matter of the machine, not of the run."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.results.ledger.run import load_run
from spinesearch.training.measure import evaluators


@pytest.fixture
def without_hotcoco(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    def hide() -> None:
        monkeypatch.setitem(sys.modules, "hotcoco", None)
        evaluators._is_here.cache_clear()

    yield hide
    evaluators._is_here.cache_clear()


@pytest.mark.parametrize("engine", ["serial", "ray"])
def test_one_that_is_absent_is_reported_before_anything_is_done(
    engine: str, tiny, tmp_path: Path, capsys, without_hotcoco
) -> None:
    without_hotcoco()
    command = ["search", *tiny, f"search.engine={engine}", "proxy_task.evaluator=hotcoco"]
    fails(command, "proxy_task.evaluator: hotcoco cannot be imported; pip install 'hotcoco", capsys)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_one(serial, capsys) -> None:
    message = "proxy_task.evaluator: must be one of auto, hotcoco, faster_coco_eval, pycocotools, got 'coco'"
    fails(["search", *serial, "proxy_task.evaluator=coco"], message, capsys)


@pytest.mark.slow
def test_a_run_resumes_where_its_evaluator_is_absent(serial, tmp_path: Path, capsys, without_hotcoco) -> None:
    for name, choice in (("default", []), ("chosen", ["proxy_task.evaluator=hotcoco"])):
        assert main(["search", *serial, *choice, f"name={name}", "search.num_trials=1"]) == 0
    without_hotcoco()
    for name, choice in (("default", []), ("chosen", ["proxy_task.evaluator=auto"])):
        resume = ["resume", str(tmp_path / "runs" / name), "search.num_trials=2"]
        if choice:
            fails(resume, "hotcoco cannot be imported; .* or set proxy_task.evaluator=auto", capsys)
        assert main([*resume, *choice]) == 0
        assert load_run(tmp_path / "runs" / name)[0].num_done == 2
