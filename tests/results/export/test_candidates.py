"""All candidates of a run for other tools: CSV and Parquet read back, Optuna's journal opened by Optuna."""

import csv
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.results.export.candidates import candidate_rows, parquet_writer, write_candidates
from spinesearch.results.export.optuna_journal import write_optuna
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.ledger.trial import RungResult
from spinesearch.space import ArchSpec, SpineNetSpace

RECORDED = Path(__file__).parents[2] / "fixtures" / "november_2026" / "runs" / "search"
SPACE = SpineNetSpace()


def build_run(num_trials: int) -> Run:
    """A run of random candidates, the second of which failed, the third stopped at a rung, the last waits."""
    run = load_run(RECORDED)[0]
    session, rng = run.sessions[0], np.random.default_rng(0)
    run = Run(sessions=[session])
    for number in range(num_trials):
        tokens = [int(token) for token in SPACE.sample(rng)]
        arch_id = SPACE.decode(tokens).arch_id
        run.apply({"event": "propose", "trial": number, "tokens": tokens, "arch_id": arch_id})
    for number in range(num_trials - 1):
        run.apply({"event": "result", "trial": number, "time": 1000.0 + number, **result(number)})
    run.trials[2].rungs.append(RungResult(num_steps=10, metrics={"ap": 0.02}, time=1001.0))
    return run


def result(number: int) -> dict[str, object]:
    """What ended a candidate."""
    if number == 1:
        return {"status": "failed", "reward": 0.0, "reason": 'it "died", at once', "seconds": 2.0}
    metrics = {"ap": number / 100, "ap_large": None}
    return {
        "status": "completed",
        "reward": number / 100,
        "metrics": metrics,
        "seconds": 3.0,
        "is_stopped": number == 2,
    }


def test_csv_and_parquet_hold_every_candidate(tmp_path: Path):
    import pyarrow.parquet

    run = build_run(5)
    write_candidates(run, tmp_path / "a.csv")
    parquet_writer()(run, tmp_path / "a.parquet")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_bytes().decode(), newline="")))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(rows) == len(table) == 5
    assert table == list(candidate_rows(run))
    for trial, row, record in zip(run.trials, rows, table, strict=True):
        assert int(row["trial"]) == trial.trial
        assert [int(token) for token in row["tokens"].split()] == record["tokens"] == list(trial.tokens)
        assert ArchSpec.from_dict(json.loads(row["spec"])).arch_id == trial.arch_id == record["arch_id"]
        assert row["reason"] == trial.reason
        assert int(row["multiply_adds"]) > 10**9
    assert [row["status"] for row in rows] == [trial.status for trial in run.trials]
    assert [row["reward"] for row in rows] == ["0.0", "0.0", "0.02", "0.03", ""]
    assert [row["metric_ap"] for row in rows] == ["0.0", "", "0.02", "0.03", ""]
    assert pyarrow.parquet.read_schema(tmp_path / "a.parquet").field("score").type == "double"


def test_optuna_opens_its_journal(tmp_path: Path):
    optuna = pytest.importorskip("optuna", reason="optuna is not installed: pip install -e '.[dev]'")
    run = build_run(5)
    write_optuna(run, tmp_path / "a.log", name="demo", rung_value=lambda part: part.metrics["ap"])
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "a.log"))
    )
    study = optuna.load_study(study_name="demo", storage=storage)
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "FAIL",
        "PRUNED",
        "COMPLETE",
        "WAITING",
    ]
    assert study.direction.name == "MAXIMIZE"
    assert (study.best_trial.number, study.best_value) == (3, 0.03)
    assert study.trials[2].intermediate_values == {10: 0.02}
    names = [decision.name for decision in SPACE.decisions]
    for trial, recorded in zip(study.trials, run.trials, strict=True):
        assert trial.params == dict(zip(names, recorded.tokens, strict=True))
        assert trial.distributions == {
            decision.name: optuna.distributions.IntDistribution(0, decision.num_choices - 1)
            for decision in SPACE.decisions
        }
        assert trial.user_attrs["arch_id"] == recorded.arch_id
    assert (study.trials[3].datetime_complete - study.trials[3].datetime_start).total_seconds() == 3.0
    study.add_trial(study.trials[0])  # what Optuna writes itself goes behind it
    assert len(study.trials) == 6


@pytest.mark.slow
def test_the_journal_of_14000_candidates_takes_less_than_a_minute(tmp_path: Path):
    run = build_run(14_000)
    start = time.monotonic()
    write_optuna(run, tmp_path / "a.log", name="demo", rung_value=lambda part: part.metrics["ap"])
    assert time.monotonic() - start < 60
    assert (tmp_path / "a.log").read_bytes().count(b"\n") == 14_000 + 6


def test_the_command_writes_them_beside_the_specs(tmp_path: Path, capsys, monkeypatch):
    run_dir = tmp_path / "search"
    run_dir.mkdir()
    (run_dir / "ledger.jsonl").write_bytes((RECORDED / "ledger.jsonl").read_bytes())
    for form, name in {
        "csv": "candidates.csv",
        "parquet": "candidates.parquet",
        "optuna": "optuna.log",
    }.items():
        assert main(["export", str(run_dir), "--format", form]) == 0
        assert f"exported {run_dir / 'export' / name}: 5 candidates" in capsys.readouterr().out
    fails(
        ["export", "spinenet49", "--format", "csv"], "--format csv: is for a search, and spinenet49", capsys
    )
    fails(["export", str(run_dir), "--format", "csv", "--top", "2"], "--top: is for --format json", capsys)
    fails(["export", str(run_dir), "--format", "csv", "-o", str(tmp_path)], "must be a file", capsys)
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    fails(["export", str(run_dir), "--format", "parquet"], r"pip install 'spinesearch\[parquet\]'", capsys)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own reader
def test_the_event_files_are_made_again_with_the_settings(tmp_path: Path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_dir = tmp_path / "search"
    run_dir.mkdir()
    (run_dir / "ledger.jsonl").write_bytes((RECORDED / "ledger.jsonl").read_bytes())
    folder = tmp_path / "events"
    assert main(["tensorboard", str(run_dir), "--top", "1", "-o", str(folder)]) == 0
    assert f"tensorboard --logdir {tmp_path}" in capsys.readouterr().out
    assert sorted(path.name for path in run_dir.iterdir()) == ["ledger.jsonl"]  # only read
    reader = EventAccumulator(str(folder))
    reader.Reload()
    assert len(reader.Scalars("search/reward")) == 5
    assert [image.step for image in reader.Images("ranking/architecture")] == [1]
    plugin = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"controller.name" in plugin
    assert b"reinforce" in plugin
    fails(["tensorboard", str(run_dir), "-o", str(folder)], "--output: is there already", capsys)
    fails(["tensorboard", str(run_dir), "--top", "-1"], "--top: must be at least 0", capsys)
    study = str(RECORDED.parent / "variance")
    fails(["tensorboard", study], "is a study; only searches", capsys)
