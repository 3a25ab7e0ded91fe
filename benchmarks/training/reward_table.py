"""One table of many settings, each judged by the same expensive one: that of docs/reward-noise.md.

python benchmarks/training/reward_table.py RUN [RUN ...]

Each RUN is the folder of a study, or its name in runs/. A `spinesearch proxy correlate` gives a row: its side
a, judged by side b, which must be the same in all, by the rule of ``--reuse``. A `spinesearch proxy variance`
under the settings of a side a gives its row the intraclass correlation, without one that side's own seeds do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from spinesearch.cli.runs.recorded import find_run
from spinesearch.proxy_task.request import DETECTIONS
from spinesearch.results.ledger.run import load_run
from spinesearch.results.studies.correlation import CorrelationReport, correlation_report
from spinesearch.results.studies.rank_correlation import Correlation
from spinesearch.results.studies.study import Study
from spinesearch.results.studies.variance import study_components
from spinesearch.search.scoring.trial_files import kept_reader
from spinesearch.search.study.reuse import conditions, difference

_COLUMNS = (
    "setting",
    "seconds",
    "ICC",
    "archs",
    "tau-b",
    "upper half",
    "best of a on b",
    "mean loss: tau-b",
    "mean loss: upper half",
)


def main() -> None:
    """Print the table of the runs on the command line, and the baselines that need no training."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    try:
        studies = [_open(find_run(text)) for text in sys.argv[1:]]
        rows, report = _rows(studies)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print("|", " | ".join(_COLUMNS), "|")
    print("|---" * len(_COLUMNS) + "|")
    for row in rows:
        print("|", " | ".join(row), "|")
    print()
    for baseline in report.baselines:
        print(f"- {baseline.metric_a}: {_cell(baseline.tau)}, upper half {_cell(baseline.upper)}")


def _open(run_dir: Path) -> tuple[Path, Study]:
    run, _ = load_run(run_dir)
    if run.study is None:
        raise ValueError(f"{run_dir}: is a search; give studies")
    return run_dir, Study(run, kept_reader(run_dir, DETECTIONS))


def _rows(studies: list[tuple[Path, Study]]) -> tuple[list[list[str]], CorrelationReport]:
    """A row per correlation study, and the report of the one that has most architectures."""
    correlations = [(path, study) for path, study in studies if study.kind == "correlate"]
    if not correlations:
        raise ValueError(
            "none of the runs is a correlation study; give some of `spinesearch proxy correlate`"
        )
    first_dir, first = correlations[0]
    rows, reports = [], []
    for path, study in correlations:
        if differs := difference(conditions(first.run, "b"), conditions(study.run, "b")):
            raise ValueError(f"{path}: its side b is not that of {first_dir}: {differs}")
        report = correlation_report(study)
        if not report.rows:
            raise ValueError(f"{path}: no architecture has completed on both sides; resume the study first")
        reports.append(report)
        rows.append(_row(study, report, [other for _, other in studies if other.kind == "variance"]))
    return rows, max(reports, key=lambda report: report.rows[0].num_archs)


def _row(study: Study, report: CorrelationReport, variances: list[Study]) -> list[str]:
    reward = study.reward_metric
    of_loss = {(row.metric_a, row.metric_b): row for row in report.rows}.get(("-mean_loss", reward))
    seconds = [trial.seconds for trial in study.trials("a") if trial.status == "completed"]
    return [
        report.labels["a"],
        f"{np.median(seconds):.1f}",
        _icc(study, variances),
        str(report.rows[0].num_archs),
        _cell(report.rows[0].tau),
        _cell(report.rows[0].upper),
        "-" if report.best_rank is None else str(report.best_rank),
        _cell(of_loss.tau if of_loss else None),
        _cell(of_loss.upper if of_loss else None),
    ]


def _icc(study: Study, variances: list[Study]) -> str:
    wanted = conditions(study.run, "a")
    same = [other for other in variances if not difference(wanted, conditions(other.run, ""))]
    found = study_components(same[0], "", study.reward_metric) if same else None
    found = found or study_components(study, "a", study.reward_metric)
    if found is None or found.icc is None or found.interval is None:
        return "-"
    return f"{found.icc:.2f} ({found.interval.low:.2f} to {found.interval.high:.2f})"


def _cell(found: Correlation | None) -> str:
    if found is None:
        return "-"
    low, high = (f"{end:.2f}" for end in found.interval)
    return f"{found.value:.2f} ({low} to {high})"


if __name__ == "__main__":
    main()
