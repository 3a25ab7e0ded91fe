"""Ablations: costs are as equal as said, a run goes on, and the page says no more than is on record."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from spinesearch.data.cache import build_lock
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.run_config import compose, run_config

ROOT = Path(__file__).parents[1]
TINY = [
    *("proxy_task.num_steps=1", "proxy_task.batch_size=2", "proxy_task.image_size=128"),
    *("proxy_task.bn_recalibration_batches=0", "data.num_images=8", "data.held_out_share=0.4"),
]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Loads a module of the benchmark by its name."""
    for folder in ("landscape", "ablations"):
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / folder))
    return importlib.import_module


def test_widths_are_fitted_to_the_first_rows_multiply_adds(load):
    compared = load("compared")
    base = run_config(compose([])).proxy_task
    for name, most in (("stem", 0.03), ("fusion", 0.01)):
        first, *others = compared.ABLATIONS[name]
        target = compared.multiply_adds(first.spec, compared.settings_of(first, first.spec, base, None))
        for row in others:
            settings = compared.settings_of(row, row.spec, base, target)
            assert isinstance(settings, ProxySettings)
            assert abs(compared.multiply_adds(row.spec, settings) / target - 1) < most


def lines(pairs: dict[str, list[float]]) -> list[dict[str, object]]:
    head = {"ablation": "connections", "where": "a-bccd", "num_images": [10, 5]}
    head |= {"machine": "M", "versions": "V"}
    return [head] + [
        {"label": label, "seed": seed, "changes": {}, "ap": ap, "ar100": 2 * ap}
        | {"num_parameters": 1000, "num_multiply_adds": 2_000_000}
        for label, aps in pairs.items()
        for seed, ap in enumerate(aps)
    ]


def test_a_table_has_the_intervals_of_paired_differences(load):
    page = load("ablation_page")
    found = {
        "R0-SP53": [0.20, 0.22, 0.24],
        "without short-range": [0.10, 0.13, 0.12],  # by -0.10, -0.09, -0.12
        "without long-range": [0.19, 0.24],  # by -0.01, 0.02
        "sequential alone": [0.40],
    }
    text = page.table(lines(found))
    assert text.startswith("Size a, bccd, 10 images trained on and 5 scored on; M, V.")
    first, short, long, sequential = text.split("\n")[-4:]
    # Student's t of 2 degrees of freedom is 4.3027; the AP's deviation is 0.02, the differences' 0.015275.
    assert first == "| R0-SP53 | 3 | 1 k | 2.00 M | 0.2200 ±0.0497 | 0.4400 ±0.0994 |  |  |  |"
    assert "| -0.1033 (-0.1413 to -0.0654) | lower | yes |" in short
    assert long.endswith("| lower | not resolved |")
    assert sequential.endswith("| +0.2000 (one seed) | lower | not known |")
    assert page.verdict([0.1, 0.11, 0.12], "lower") == "no"


def test_the_model_proposes_two_thirds_of_a_searchs_candidates(load):
    compared = load("compared")
    for row in (*compared.ABLATIONS["order"], compared.ABLATIONS["search"][1]):
        config = run_config(compose(list(row.search)))
        num_unlearnt = (config.search.lag + 1) * config.search.generation_size
        assert compared.NUM_CANDIDATES / 3 == num_unlearnt == config.controller.num_initial


def test_searches_and_trainings_are_of_one_size(load, tmp_path: Path, cache_dir: Path, monkeypatch, capsys):
    run: ModuleType = load("run_ablation")
    given: list[list[str]] = []
    codes = iter((2, 130))
    monkeypatch.setattr(run, "spinesearch", lambda words: given.append(words) or next(codes))
    data = ["data.num_images=8", "data.held_out_share=0.4", f"data.cache_dir={cache_dir}"]
    words = ["run_ablation.py", "search", "--size", "b", "--folder", str(tmp_path), *data]
    monkeypatch.setattr(run.sys, "argv", words)
    for ending in (
        "exit code 2: it was refused",
        "exit code 130: it stopped early: the same command resumes it",
    ):
        assert run.main() == 2
        assert ending in capsys.readouterr().err
    assert "proxy_task.num_steps=500" in given[0]
    assert "controller=random" in given[0]
    head = json.loads((tmp_path / "search-b-generated.jsonl").read_text())
    assert head["proxy_task"]["num_steps"] == 500
    # A second process with the same file is refused, and leaves even a line that is being written as it is.
    path = tmp_path / "search-b-generated.jsonl"
    path.write_text(path.read_text() + '{"label"')
    with build_lock(path):
        assert run.main() == 2
    assert f"{path}: another process is writing it; wait for its end" in capsys.readouterr().err
    assert path.read_text().endswith('{"label"')


@pytest.mark.slow
def test_a_run_goes_on_and_the_page_takes_what_there_is(load, tmp_path: Path, cache_dir: Path, monkeypatch):
    run: ModuleType = load("run_ablation")
    page: ModuleType = load("ablation_page")
    words = [*TINY, f"data.cache_dir={cache_dir}"]
    config = run_config(compose(words))
    monkeypatch.setattr(run, "NUM_CANDIDATES", 2)
    for name, rows in (("fusion", 3), ("search", 2)):
        path = tmp_path / f"{name}-a-drawn.jsonl"
        run.ablate(name, "a-drawn", config, words, tmp_path, num_seeds=1)
        whole = path.read_text()
        assert whole.count("\n") == 1 + rows
        path.write_text(whole[: whole.rfind("\n", 0, -1) + 20])  # killed while it wrote the last line
        run.ablate(name, "a-drawn", config, words, tmp_path, num_seeds=1)
        again = [json.loads(line) for line in path.read_text().splitlines()]
        for one, other in zip(again[1:], map(json.loads, whole.splitlines()[1:]), strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
        assert page.table(again)
        other_task = run_config(compose([*words, "proxy_task.num_steps=2"]))
        with pytest.raises(ValueError, match="was begun with another proxy_task; give the same, or another"):
            run.ablate(name, "a-drawn", other_task, words, tmp_path, num_seeds=1)


@pytest.mark.slow
def test_the_time_of_top_k_is_written_into_a_page(load, tmp_path: Path, cache_dir: Path, monkeypatch):
    speed: ModuleType = load("top_k_speed")
    page = tmp_path / "page.md"
    page.write_text("<!-- top-k time: begin -->\n<!-- top-k time: end -->\n")
    words = ["top_k_speed.py", "--rounds", "2", "--page", str(page), *TINY, f"data.cache_dir={cache_dir}"]
    monkeypatch.setattr(speed.sys, "argv", words)
    assert speed.main() == 0
    rows = [line.split(" | ")[0] for line in page.read_text().splitlines() if line.startswith("| ")]
    kept = ["all", "K = 4", "K = 2", "K = 1"]
    assert rows[2:] == ["| sum", *(f"| {name}, {k}" for name in ("weighted", "attention") for k in kept)]


def test_a_file_of_an_earlier_release_has_the_defaults_of_younger_settings(load):
    run: ModuleType = load("run_ablation")
    settings = json.loads(json.dumps(asdict(ProxySettings(num_steps=7))))
    begun = {key: value for key, value in settings.items() if key != "kernels"} | {"fused": "auto"}
    assert run.as_of_now({"where": "a-drawn", "proxy_task": begun}) == {
        "where": "a-drawn",
        "proxy_task": settings,
    }


def test_times_are_compared_within_a_round(load):
    speed: ModuleType = load("top_k_speed")
    text = speed.table({1: {"sum": [0.010, 0.020, 0.010], "attention, K = 2": [0.011, 0.020, 0.012]}})
    first, second = text.split("\n")[-2:]
    assert first == "| sum | 10.00 (10.00-20.00) |  |"
    assert second == "| attention, K = 2 | 12.00 (11.00-20.00) | 1.10 (1.00-1.20) |"
