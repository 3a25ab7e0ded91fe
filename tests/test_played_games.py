"""Games on file: which count, and what is played."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from landscape_runs import FOLDER
from marked_processes import MARK, marked_pids


def test_a_games_origin_is_what_decides_it(bench):
    played = bench("played")
    game = bench("one_game").Game("evolution", "short ways", 8, 0, 50)
    before = played.origin(game)
    assert before != played.origin(game._replace(strategy="evolution:population_size=41"))
    assert before != played.origin(game._replace(strategy="local_search"))
    assert before != played.origin(game._replace(landscape="surrogate"))
    assert before == played.origin(game._replace(seed=3, landscape="middling cost, with rungs"))
    assert [path.stem for path in played._with_imported(played._PACKAGE / "controller/evolution.py")] == [
        "draws",
        "evolution",
        "protocol",
    ]
    imported = {path.stem for path in played._with_imported(played._PACKAGE / "space/spinenet.py")}
    assert imported >= {"neighbours", "identity", "features", "cost", "orders", "spec"}
    assert not imported & {"published", "spec_file", "latency_table"}  # which no game asks for anything


def test_a_modules_meaning_is_what_it_does(bench, tmp_path: Path):
    def meaning(text: str) -> bytes:
        path = tmp_path / "a.py"
        path.write_text(text)
        bench("played")._meaning.cache_clear()
        return bench("played")._meaning(path)

    commented = meaning('"""What it does."""\nx = {"a": 1}  # a comment\n')
    assert commented == meaning("x = {'a': 1}\n") != meaning('x = {"a": 1.0}\n')
    refusal = meaning('if x < 1:\n    raise ValueError(f"x: {x} is less than 1")\n')
    assert refusal == meaning('if x < 1:\n    raise ValueError("x")\n')
    assert refusal != meaning("if x < 1:\n    raise KeyError(x)\n")
    assert refusal != meaning('if x < 2:\n    raise ValueError("x")\n')


def test_what_is_on_file_is_not_played_again(bench, tmp_path: Path, monkeypatch, capsys):
    """A longer game stands for a shorter one; games of other code stay, and are played anew."""
    module, asked = bench("played"), []

    def play(game):
        asked.append(game)
        return {**game._asdict(), "best": {"50": 1.0}}

    monkeypatch.setattr(module, "play_game", play)
    monkeypatch.setattr(
        module, "ProcessPoolExecutor", lambda workers, mp_context, initializer: ThreadPoolExecutor(workers)
    )
    game = bench("one_game").Game("random", "short ways", 8, 0, 100)
    longer, path = game._replace(num_trials=300), tmp_path / "runs" / "a.jsonl"
    (row,) = module.played(path, [game], 1)
    assert row == {**game._asdict(), "best": {"50": 1.0}, "origin": module.origin(game)}
    path.write_text(path.read_text() + '{"strategy": "ran')  # stopped inside a line
    assert module.played(path, [game], 1) == [row]
    assert module.played(path, [longer, game], 1)[1]["num_trials"] == 300
    assert module.played(path, [game], 1)[0]["num_trials"] == 300
    assert asked == [game, longer]
    path.write_text(path.read_text().replace(module.origin(game), "other code"))
    capsys.readouterr()
    module.played(path, [game], 1)
    assert asked == [game, longer, game]
    assert (
        f"0 games in {path}, where 2 of other code or records are not used; 1 to play"
        in capsys.readouterr().err
    )
    assert len(path.read_text().splitlines()) == 3
    path.write_text(path.read_text() + '{"strategy": "random"}\n')
    with pytest.raises(
        ValueError, match=r"a\.jsonl, line 4: is no game \('landscape'\); remove the line, or"
    ):
        module.played(path, [game], 1)


def test_what_is_on_file_can_be_told_without_playing(bench, tmp_path: Path, monkeypatch, capsys):
    """Of a strategy whose seeds are all there."""
    module, path = bench("played"), tmp_path / "a.jsonl"
    games = [bench("one_game").Game(name, "short ways", 8, seed, 100) for name in "ab" for seed in (0, 1)]
    games = [game._replace(strategy={"a": "random", "b": "evolution"}[game.strategy]) for game in games]
    rows = [{**game._asdict(), "best": {"50": 1.0}, "origin": module.origin(game)} for game in games]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    told = module.played(path, games, 0)
    assert told == rows[:3]
    assert f"3 games in {path}; 1 not played to their end" in capsys.readouterr().err
    assert bench("bench_controllers")._of_all_seeds(told, 2) == rows[:2]
    arguments = ["--on-file", "--results", path, "--strategies", "ppo", "--landscapes", "short ways"]
    monkeypatch.setattr(sys, "argv", ["bench_controllers.py", *map(str, arguments)])
    assert bench("bench_controllers").main() == 2
    assert f"--on-file: no such game has all 20 seeds in {path}" in capsys.readouterr().err


def test_the_page_tells_of_all_on_file_and_the_screen_of_what_was_asked(
    bench, tmp_path: Path, monkeypatch, capsys
):
    """Games of two sizes and with rungs; those of 64, which is another command's, are asked for."""
    module, path, page = bench("bench_controllers"), tmp_path / "a.jsonl", tmp_path / "docs" / "page.md"
    names = ["random", "evolution", "evolution:population_size=41"]
    hills = ["short ways", "short ways, with rungs"]
    games = list(module._games(names, hills, 2, [8, 64], None))
    assert {(game.landscape, game.generation_size, game.num_trials) for game in games} == {
        ("short ways", 8, 1000),
        ("short ways", 64, 1000),
        ("short ways, with rungs", 8, 150),  # at 64 nothing is compared below 300
    }
    values = {"50": 0.5, "150": 0.5, "300": 0.5, "1000": 0.5}
    told = {"best": values, "late": values, "duplicates": values}
    rows = [{**game._asdict(), **told, "origin": bench("played").origin(game)} for game in games]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page.parent.mkdir()
    page.write_text("<!-- bench-controllers: begin -->\n<!-- bench-controllers: end -->\n")
    asked = ["--sizes", 64, "--strategies", names[2], "--landscapes", hills[0], "--seeds", 2, "--workers", 1]
    monkeypatch.setattr(sys, "argv", ["x", *map(str, asked), "--results", str(path), "--page", str(page)])
    assert module.main() == 0
    printed, written = capsys.readouterr().out, page.read_text()
    assert "### Short ways, generations of 64" in printed
    assert "| random" not in printed
    for title in ("Short ways, generations of 64", "Short ways, generations of 8", "Short ways, with rungs"):
        assert f"### {title}" in written
    for name in names:
        assert f"| {name} | 0.5 (0.5 to 0.5)" in written
    assert (page.parent / "images" / "controllers.png").exists()


def test_published_games_can_be_read_and_none_is_there_twice(bench):
    played = bench("played")
    path = FOLDER / "played.jsonl"
    rows = list(played._rows(path, path.read_text()))
    assert len({(played._game(row), row["origin"]) for row in rows}) == len(rows) >= 840


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, FOLDER / "bench_controllers.py", *map(str, arguments)]
    return subprocess.run(script, capture_output=True, text=True)


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    options = ("--quick", "--strategies", "random", "--landscapes", "short ways", "--results", results)
    whole = command(*options, "--workers", 2)
    assert whole.returncode == 0, whole.stderr
    assert "### Short ways, generations of 8" in whole.stdout
    assert "0 games in" in whole.stderr
    assert "3 to play" in whole.stderr
    first, *_ = lines = results.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    results.write_text(first + '{"strategy": "ran')  # stopped inside a line
    rest = command(*options, "--workers", 1)
    assert f"1 games in {results}; 2 to play" in rest.stderr
    assert rest.stdout == whole.stdout
    assert sorted(results.read_text().splitlines(keepends=True)) == sorted(lines)
    results.write_text(first + '{"strategy": "random"}\n')
    refused = command(*options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"{results}, line 2: is no game")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_its_workers_end_with_it(tmp_path: Path, number: signal.Signals):
    """By Ctrl-C with a line, by a kill without one; in games that take a minute each."""
    results = tmp_path / "results.jsonl"
    options = ("--sizes", "8", "--strategies", "bayesian", "--landscapes", "short ways", "--workers", "2")
    with subprocess.Popen(
        [sys.executable, FOLDER / "bench_controllers.py", *options, "--results", results],
        env=os.environ | {MARK: str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as bench:
        assert bench.stderr is not None
        assert "20 to play" in bench.stderr.readline()
        time.sleep(5)  # until they play
        assert len(marked_pids(str(tmp_path), "spawn_main")) == 2
        bench.send_signal(number)
        said = bench.stderr.read()
    if number == signal.SIGINT:
        assert bench.returncode == 130
        assert said == "stopped; what was over is on file, and the same command plays the rest\n"
    else:
        assert "Traceback" not in said
    end = time.monotonic() + 30
    while marked_pids(str(tmp_path), "python"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert results.read_text() == ""
