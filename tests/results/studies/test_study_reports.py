"""What studies say of their results: numbers, sentences, tables and files."""

import io
import json
import re

import numpy as np
import pytest
from fake_study import carry_out, made, plan
from long_suite import few
from PIL import Image
from rich.console import Console

from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.studies.correlation import (
    correlation_notes,
    correlation_report,
    correlation_table,
    side_labels,
)
from spinesearch.results.studies.rank_correlation import kendall_tau, spearman_rho
from spinesearch.results.studies.statistics import variance_components
from spinesearch.results.studies.study import LESS_IS_BETTER, Study
from spinesearch.results.studies.study_report import arch_table, write_report
from spinesearch.results.studies.variance import variance_notes, variance_report, variance_table, verdict
from spinesearch.search.config.settings import REWARD_METRICS

# Shrout and Fleiss 1979, table 2, over 100: ICC(1) is 0.17 and ICC(3,1) 0.71.
TABLE = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
APS = [[value / 100 for value in row] for row in TABLE]


def variance_study(aps: list[list[float | None]]) -> Study:
    rows = [
        [None if ap is None else {"ap": ap, "loss": 2 - ap, "num_steps": 2, "seconds": 1.5} for ap in row]
        for row in aps
    ]
    return made("variance", {"": rows})


def correlation_study(a: list[list[float]], b: list[list[float]]) -> Study:
    sides = {"a": a, "b": b}
    return made(
        "correlate",
        {side: [[{"ap": ap, "ap50": 1 - ap} for ap in row] for row in rows] for side, rows in sides.items()},
    )


def printed(*things: object) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    for thing in things:
        console.print(thing)
    return console.file.getvalue().splitlines()


def test_the_numbers_of_a_variance_study():
    report = variance_report(variance_study(APS))
    assert [row.metric for row in report.rows] == ["ap", "loss"]  # counts and durations are no scores
    ap, loss = report.rows
    assert ap.components == variance_components(APS)
    assert round(ap.components.icc, 2) == 0.17
    assert round(ap.same_seed, 2) == 0.71
    assert loss.components.icc == pytest.approx(ap.components.icc)
    assert (report.num_done, report.num_failed) == (24, 0)
    assert report.rate == (2.0, 2.0, 2.0, 1800.0)


def test_failed_trainings_are_left_out_and_counted():
    study = variance_study([[0.01, None], [0.04, 0.06], [None, None], [0.1, 0.11]])
    report = variance_report(study)
    assert report.rows[0].components == variance_components([[0.01], [0.04, 0.06], [0.1, 0.11]])
    assert report.num_failed == 3
    assert "3 of 8 trainings failed; the figures leave them out" in variance_notes(report)


@pytest.mark.parametrize(
    ("aps", "sentence"),
    [
        (
            APS,
            r"17 % of the variance of ap comes from the architecture \(95 % interval 0 to 72 %\),",
        ),
        (APS, r"The mean of 46 seeds per candidate would reach 90 %\."),
        (
            [[i / 10, i / 10 + 0.001] for i in range(9)],
            r"100 % of the variance .* learns from architectures\.$",
        ),
        (
            [[0.1, 0.12], [0.2, 0.16], [0.28, 0.3]],
            r"9\d % of .* learns from architectures\. 3 architectures do not settle that it is 90 %\.",
        ),
        ([[0.1, 0.3], [0.3, 0.1]], r"None of the variance of ap can be attributed to the architecture"),
        ([[0.1, 0.1], [0.1, 0.1]], r"Every training ended with the same ap: it distinguishes nothing\."),
        ([[0.1, None], [0.2, None]], r"No verdict yet: it takes two architectures"),
    ],
)
def test_verdicts(aps, sentence: str):
    assert re.search(sentence, verdict(variance_report(variance_study(aps))))


def test_the_numbers_of_a_correlation_study():
    a, b = [[0.1], [0.2], [0.3], [0.25]], [[0.3], [0.5], [0.4], [0.45]]
    report = correlation_report(correlation_study(a, b))
    x, y = np.array(a).ravel(), np.array(b).ravel()
    assert [(row.metric_a, row.metric_b) for row in report.rows] == [
        ("ap", "ap"),
        ("ap50", "ap50"),
        ("ap50", "ap"),
    ]
    assert report.rows[0].tau == kendall_tau(x, y)
    assert report.rows[0].rho == spearman_rho(x, y)
    assert report.rows[2].tau == kendall_tau(1 - x, y)
    assert report.best_rank == 3  # a's best is the third, which is third on b
    assert report.labels == {"a": "num_steps=200", "b": "num_steps=2000"}
    assert report.reliability == {"a": None, "b": None}
    assert [report.rates[side].per_hour for side in "ab"] == [1800.0, 360.0]


def test_of_losses_less_is_better():
    """Architectures with more AP have less loss on either side: that is agreement, and is shown as such."""
    rows = [[{"ap": i / 10, "loss": 3.0 - i}] for i in range(5)]
    report = correlation_report(made("correlate", {"a": rows, "b": rows}))
    assert [(row.metric_a, row.metric_b, row.tau.value, row.rho.value) for row in report.rows] == [
        ("ap", "ap", 1.0, 1.0),
        ("-loss", "-loss", 1.0, 1.0),
        ("-loss", "ap", 1.0, 1.0),
    ]
    assert correlation_notes(report)[-1].startswith("a minus before a loss: less of it is better")
    notes = variance_notes(variance_report(variance_study(APS)))
    assert "of loss less is better; the shares mean the same" in notes
    assert not set(LESS_IS_BETTER) & set(REWARD_METRICS)


def test_a_side_on_which_everything_failed_correlates_with_nothing(tmp_path):
    study = made("correlate", {"a": [[{"ap": 0.1}], [{"ap": 0.2}], [{"ap": 0.3}]], "b": 3 * [[None]]})
    report = correlation_report(study)
    assert (report.rows, report.best_rank, report.num_failed) == ((), None, 3)
    assert [path.name for path in write_report(study, tmp_path)] == ["correlate.json"]
    assert correlation_notes(report)[-2].startswith("no result yet")


def test_an_architecture_that_failed_on_one_side_is_in_neither():
    rows = {
        "a": [[{"ap": ap}] for ap in (0.1, 0.2, 0.3, 0.4)],
        "b": [[{"ap": 0.5}], [None], [{"ap": 0.3}], [{"ap": 0.9}]],
    }
    report = correlation_report(made("correlate", rows))
    assert report.rows[0].num_archs == 3
    assert report.rows[0].tau.value == pytest.approx(1 / 3)
    assert report.num_failed == 1
    assert "with fewer than 8 architectures the intervals are too narrow" in correlation_notes(report)


def test_side_labels_are_the_settings_that_differ():
    study = correlation_study([[0.1]], [[0.1]])
    config = study.run.sessions[0]["config"]
    side_b = study.run.sessions[0]["study"]["b"]
    side_b["config"] = {**config, "data": {"name": "coco"}}
    assert side_labels(study) == {"a": "data.name=None", "b": "data.name=coco"}
    side_b["config"] = config
    assert side_labels(study) == dict.fromkeys("ab", "same settings, other seeds")


@pytest.mark.parametrize("kind", ["variance", "correlate"])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_reports_fit_80_columns(kind: str, scale: float, tmp_path):
    rng = np.random.default_rng(0)
    names = ("ap", "ap50", "ap_small", "ap_medium", "ar100", "loss")

    def row(count: int) -> list[dict[str, float]]:
        return [{name: scale * (rng.random() - 0.5) for name in names} for _ in range(count)]

    if kind == "variance":
        study = made(kind, {"": [row(4) for _ in range(6)]})
        table = variance_table(variance_report(study))
    else:
        study = made(kind, {side: [row(2) for _ in range(6)] for side in "ab"})
        table = correlation_table(correlation_report(study))
    lines = printed(table, arch_table(study, top=4))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    shown = [line.split()[0].removeprefix("-") for line in lines if line.strip()]
    assert set(names) <= set(shown)


def test_the_best_architectures_are_ranked_by_the_last_side():
    a, b = [[0.1, 0.3], [0.2, 0.2], [0.3, 0.3]], [[0.3, 0.5], [0.7, 0.7], [0.1, 0.2]]
    lines = [line.split() for line in printed(arch_table(correlation_study(a, b), top=2))]
    assert lines[0] == ["best", "2", "of", "3"]
    assert lines[3:5] == [
        ["1", "000000000001", "0.2000", "0.0000", "2", "0.7000", "0.0000", "2"],
        ["2", "000000000000", "0.2000", "0.1414", "2", "0.4000", "0.1414", "2"],
    ]


def test_a_variance_study_is_written_as_json(tmp_path):
    (path,) = write_report(variance_study(APS), tmp_path)
    assert path == tmp_path / "variance.json"
    data = json.loads(path.read_text())
    ap = data["rows"][0]
    assert (ap["metric"], round(ap["icc"], 4), ap["seeds_needed"]) == ("ap", 0.1657, 46)
    assert ap["sd_within"] == pytest.approx(0.0250278, rel=1e-5)
    assert data["verdict"].startswith("17 % of the variance")
    assert data["origin"]["command"] == "spinesearch x"


@pytest.mark.parametrize("seeds", few([1, 3], 1))
def test_a_correlation_study_is_written_with_its_plot(seeds: int, tmp_path):
    rng = np.random.default_rng(1)
    a = rng.uniform(0.1, 0.4, (16, seeds))
    paths = write_report(correlation_study(a.tolist(), (a + 0.1).tolist()), tmp_path)
    assert [path.name for path in paths] == ["correlate.json", "correlate.png"]
    assert json.loads(paths[0].read_text())["rows"][0]["tau"]["value"] == pytest.approx(1.0)
    with Image.open(paths[1]) as image:
        assert image.size == (960, 930)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50  # more than an empty frame
    assert sorted(path.name for path in tmp_path.iterdir()) == ["correlate.json", "correlate.png"]


def test_an_unfinished_study_is_read_as_far_as_it_is(tmp_path):
    """Every beginning of a study's ledger gives a report."""
    for kind in ("variance", "correlate"):
        carry_out(tmp_path / kind, plan(kind, archs=4, seeds=2))
        events = read_ledger(tmp_path / kind / LEDGER_NAME).events
        for end in range(1, len(events) + 1):
            study = Study(Run.from_events(tmp_path, events[:end]))
            if kind == "variance":
                report = variance_report(study)
                assert verdict(report)
                assert printed(*variance_notes(report)) is not None
            else:
                report = correlation_report(study)
            assert report.num_done == sum(event["event"] == "result" for event in events[:end])
            json.dumps(report.to_dict(), allow_nan=False)
