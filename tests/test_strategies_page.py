"""The tables and the plot of docs/controllers.md: medians, paired intervals, verdicts."""

from pathlib import Path

import numpy as np
import pytest


def rows_of(**best: list[float]) -> list[dict[str, object]]:
    """Games of three seeds; the values are of 50, 100 and 1,000 candidates plus the seed's tenth."""
    return [
        {
            "strategy": strategy,
            "landscape": "a hill",
            "generation_size": 8,
            "seed": seed,
            "num_trials": 1000,
            "best": {n: value + seed / 10 for n, value in zip(("50", "100", "1000"), values, strict=True)},
            "late": {"50": 0.0, "100": 0.0, "1000": 1.5},
            "duplicates": {"50": 0.0, "100": 0.0, "1000": 0.25},
        }
        for strategy, values in best.items()
        for seed in (2, 0, 1)
    ]


def test_the_report_by_hand(bench, monkeypatch):
    comparison = bench("comparison")
    monkeypatch.setattr(comparison, "BUDGETS", {8: (50, 100, 1000), 64: (1000,)})
    rows = rows_of(random=[1, 2, 3], evolution=[2, 3, 4], reinforce=[2, 3.5, 5])
    text = comparison.report(rows, default="reinforce")
    assert "### A hill, generations of 8\n\nMedians and quartiles over 3 seeds." in text
    assert "| random | 1.1 (1.05 to 1.15) | 2.1 (2.05 to 2.15) | 3.1 (3.05 to 3.15) | 1.5 | 25 % |" in text
    assert "| evolution | +0 (+0 to +0) | -0.5 (-0.5 to -0.5) | -1 (-1 to -1) |" in text
    assert "reinforce reaches random's best of 1,000 within 100 candidates: 3.6 against 3.1" in text
    assert "reinforce is beaten by evolution at no budget." in text
    # A shorter game leaves cells empty, and random's end is an aim all the same.
    for row in rows:
        if row["strategy"] == "evolution":
            row["best"] = {n: row["best"][n] for n in ("50", "100")}
            row["late"], row["duplicates"] = {"50": 0.0, "100": 0.5}, {"50": 0.0, "100": 0.5}
    text = comparison.report(rows, default="reinforce")
    assert "| evolution | 2.1 (2.05 to 2.15) | 3.1 (3.05 to 3.15) |  | 0.5 | 50 % |" in text
    assert "| evolution | +0 (+0 to +0) | -0.5 (-0.5 to -0.5) |  |" in text
    assert "reinforce is beaten by evolution at no budget." in text
    with_rungs = [row | {"landscape": "a hill, with rungs", "best": {"50": 3.0}} for row in rows]
    text = comparison.report([*rows, *with_rungs], default="reinforce")
    assert "| better with rungs than without by | 50 |" in text
    rows = rows_of(random=[1, 2, 3], evolution=[2, 3, 4], reinforce=[2, 3.5, 5])
    text = comparison.report(rows, default="random")
    assert "| evolution | +1 (+1 to +1) ! | +1 (+1 to +1) ! | +1 (+1 to +1) ! |" in text
    assert "random is beaten by evolution at 50, 100, 1000 candidates." in text


def test_the_overview_by_hand(bench):
    rows = rows_of(random=[1, 2, 3], reinforce=[2, 3.5, 5])
    rows += [row | {"landscape": "a hill, with rungs"} for row in rows] + [
        row | {"generation_size": 64} for row in rows
    ]
    assert bench("comparison").overview(rows, default="reinforce") == (
        "| best after 100 candidates, median | a hill |\n| --- | ---: |\n"
        "| random | 2.1 |\n| **reinforce** | 3.6 |\n| random, 1,000 candidates | 3.1 |"
    )
    rows += [row | {"landscape": "a valley"} for row in rows if row["strategy"] == "random"]
    assert "\n| **reinforce** | 3.6 |  |\n" in bench("comparison").overview(rows, default="reinforce")


def test_the_verdicts_by_hand(bench, monkeypatch):
    """A hill where the default is better at once; a valley where it is even, then worse; one budget of 64."""
    comparison = bench("comparison")
    monkeypatch.setattr(comparison, "BUDGETS", {8: (50, 1000), 64: (1000,)})

    def game(strategy: str, landscape: str, size: int, seed: int, **best: float) -> dict[str, object]:
        values = {name.removeprefix("n"): value for name, value in best.items()}
        return {
            "strategy": strategy,
            "landscape": landscape,
            "generation_size": size,
            "seed": seed,
            "best": values,
        }

    rows = []
    for seed in (1, 0):
        rows += [
            game("random", "a hill", 8, seed, n50=1 + 0.1 * seed, n1000=1),
            game("good", "a hill", 8, seed, n50=2, n1000=2 + 0.1 * seed),
            game("random", "a valley", 8, seed, n50=seed, n1000=3 + 0.1 * seed),
            game("good", "a valley", 8, seed, n50=0.5, n1000=2),
            game("random", "a hill", 64, seed, n1000=1),
            game("good", "a hill", 64, seed, n1000=1),
            game("short", "a valley", 8, seed, n50=0.5),
        ]
    text = comparison.verdicts(rows, default="good")
    assert text.startswith(
        "| good better/even/worse | 50, by 8 | 1,000, by 8 | 1,000, by 64 |\n| --- | ---: | ---: | ---: |\n"
        "| random | 1/1/0 | 1/0/1 | 0/1/0 |\n| short | 0/1/0 |  |  |\n\nOn how many landscapes"
    )
    assert "rungs" not in text
    assert "random |" not in comparison.verdicts(rows, default="not played")
    for seed in (0, 1):
        rows += [
            game("random", "a hill, with rungs", 8, seed, n50=0.9 + 0.1 * seed),  # .1 worse
            game("good", "a hill, with rungs", 8, seed, n50=3 + 0.1 * seed),
            game("random", "a valley, with rungs", 8, seed, n50=1 - seed),  # 1 or -1 better
        ]
    text = comparison.verdicts(rows, default="good")
    assert "| 1,000, by 64 | 50, by 8, rungs |\n" in text
    assert "\n| random | 1/1/0 | 1/0/1 | 0/1/0 | 1/0/0 |\n" in text
    assert (
        "| rungs better/even/worse | 50 |\n| --- | ---: |\n| random | 0/1/1 |\n| good | 1/0/0 |\n\n" in text
    )


def test_intervals_by_hand(bench):
    # Differences 0, 1, 2: mean 1, deviation 1; Student's t of 2 degrees of freedom is 4.3027.
    mean, low, high = bench("comparison").interval(np.array([0.0, 1.0, 2.0]))
    assert (mean, low, high) == pytest.approx((1, 1 - 4.3027 / 3**0.5, 1 + 4.3027 / 3**0.5), rel=1e-4)


def test_the_plot_is_drawn(bench, tmp_path: Path):
    rows = rows_of(random=[1, 2, 3], evolution=[2, 3, 4])
    bench("comparison").plot(rows, tmp_path / "images" / "x.png")
    assert (tmp_path / "images" / "x.png").read_bytes().startswith(b"\x89PNG")
    of_64 = [row | {"generation_size": 64} for row in rows]
    bench("comparison").plot(of_64, tmp_path / "64.png")
    assert (tmp_path / "64.png").read_bytes().startswith(b"\x89PNG")
