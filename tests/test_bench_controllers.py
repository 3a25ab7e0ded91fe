"""The benchmark of the strategies: games are a search's, judges are apart from strategies, results resume."""

import sys
from pathlib import Path

import numpy as np
import pytest
from landscape_runs import SPACE, record

from spinesearch.controller import Rollout, Suggestion
from spinesearch.controller.random import RandomSettings
from spinesearch.controller.reinforce import ReinforceSettings
from spinesearch.space.features import FEATURE_NAMES

SMALL = ReinforceSettings(hidden_size=8, embedding_size=4)


def by_level(bench, **changes):
    """A judge that counts blocks at level 4, with noise of .5."""
    column = FEATURE_NAMES.index("blocks at L4")
    return bench("judges").Judge(
        name="level 4", means=lambda figures: figures[:, column].copy(), **{"noise_sd": 0.5, **changes}
    )


def test_a_course_is_the_searchs_own(bench, monkeypatch):
    """Updates come in turn, with the lag between them, as `spinesearch.search.loop.controlled` has it."""
    calls: list[str] = []
    controller = RandomSettings().build(SPACE, seed=3)

    class Spy:
        arguments = controller.arguments

        def suggest(self, count: int, *, given=()) -> list[Suggestion]:
            calls.append(f"suggest {count}")
            return controller.suggest(count, given=given)

        def update(self, rollouts: list[Rollout]) -> dict[str, float]:
            calls.append(f"update {rollouts[0].trial}..{rollouts[-1].trial}")
            return {}

    class Settings:
        name = "spy"

        def build(self, space, *, seed: int) -> Spy:
            return Spy()

    view = bench("judges").SpaceView(SPACE)
    arguments = {"generation_size": 4, "lag": 1, "num_trials": 18, "seed": 3}
    course = bench("games").play(Settings(), by_level(bench), view, **arguments)
    assert calls[:5] == ["suggest 4", "suggest 4", "update 0..3", "suggest 4", "update 4..7"]
    assert [len(values) for values in (course.best, course.values, course.duplicates)] == [18, 18, 18]
    # Values are noise-free, and the best is the value of who had the highest reward.
    tokens = [s.tokens for s in RandomSettings().build(SPACE, seed=3).suggest(18)]
    values = [SPACE.features(row)[FEATURE_NAMES.index("blocks at L4")] for row in tokens]
    assert course.values == values
    arch_ids = [SPACE.decode(row).arch_id for row in tokens]
    told = by_level(bench).rewards(np.array(values), arch_ids, 3)
    assert course.best == [values[int(np.argmax(told[: n + 1]))] for n in range(18)]


def test_a_rung_thins_generations_out_at_equal_cost(bench):
    """Of 6 candidates 2 go on: 6/3 + 2 x 2/3 = 10/3 of a whole training a generation."""
    play, rung = bench("games").play, bench("judges").Rung()
    course = play(
        RandomSettings(),
        by_level(bench),
        bench("judges").SpaceView(SPACE),
        generation_size=6,
        lag=1,
        num_trials=20,
        seed=3,
        rung=rung,
    )
    assert len(course.values) == 36
    assert course.counts == [6] * 6 + [12] * 3 + [18] * 4 + [24] * 3 + [30] * 3 + [36]
    assert len(course.best) == 20
    assert set(course.best) <= set(course.values)
    # Who is best there is who goes on, and the reward of the others is that of the rung.
    judge = by_level(bench)
    low, high = (
        np.mean(judge.rewards(np.zeros(400), list(map(str, range(400))), 0, at)) for at in (rung, None)
    )
    assert high - low == pytest.approx(rung.lost * judge.noise_sd, rel=0.2)


def test_noise_is_a_networks_own(bench):
    judge = by_level(bench, ap_per_unit=0.1, ap_at_zero=0.2)
    means = np.zeros(2000)
    arch_ids = [f"{i:012x}" for i in range(2000)]
    first = judge.rewards(means, arch_ids, 0)
    assert judge.rewards(means[:3], arch_ids[:3], 0) == first[:3]
    assert judge.rewards(means, arch_ids, 1) != first
    assert np.mean(first) == pytest.approx(0.2, abs=0.005)  # four standard errors of .05 / sqrt(2000)
    assert np.std(first) == pytest.approx(0.05, rel=0.07)


def test_judge_and_strategies_share_no_figure(bench):
    surrogate = bench("surrogate")
    assert not set(surrogate.JUDGE_COLUMNS) & set(surrogate.STRATEGY_COLUMNS)
    assert sorted({*surrogate.JUDGE_COLUMNS, *surrogate.STRATEGY_COLUMNS}) == list(range(len(FEATURE_NAMES)))
    view = bench("judges").SpaceView(SPACE)
    tokens = SPACE.sample(np.random.default_rng(0))
    assert view.features(tokens) == SPACE.features(tokens)[::2]
    assert view.all_features(tokens) == SPACE.features(tokens)
    assert view.size == SPACE.size


@pytest.fixture
def recorded(bench, tmp_path: Path):
    runs = [record(tmp_path / "one", done=60, wanted=60), record(tmp_path / "two", done=9, wanted=9, seed=1)]
    bench("collect").collect(runs, tmp_path / "records")
    return bench("recorded").load(tmp_path / "records")


def test_the_surrogate_judges_by_its_half(bench, recorded, monkeypatch):
    monkeypatch.setattr(bench("surrogate"), "NUM_TREES", 20)
    judge = bench("judges").surrogate_judge(recorded)
    x, y = bench("surrogate").figures_and_scores(recorded)
    assert np.corrcoef(judge.means(x), y)[0, 1] > 0.7  # it has seen these
    blind = x.copy()
    blind[:, list(bench("surrogate").STRATEGY_COLUMNS)] = 0.0
    assert (judge.means(blind) == judge.means(x)).all()
    assert 0.002 < judge.noise_sd < 0.01
    monkeypatch.setattr(bench("judges"), "seed_noise", lambda values: None)
    with pytest.raises(bench("recorded").LandscapeError, match="at least four networks need several seeds"):
        bench("judges").surrogate_judge(recorded)


class Knower:
    """A strategy that predicts of every candidate how many of its choices are 0."""

    def suggest(self, count: int, *, given=()) -> list[Suggestion]:
        return [Suggestion(tokens=t, info={"prediction": float(t.count(0))}) for t in given]


@pytest.mark.parametrize("kind", ["random", "reinforce", "predicts", "proposes"])
def test_a_strategy_plays_the_table_out_by_its_own_ranking(bench, recorded, kind: str):
    tokens = recorded.scores().tokens
    view = bench("judges").SpaceView(SPACE)
    strategy = {
        "random": lambda: RandomSettings().build(SPACE, seed=0),
        "reinforce": lambda: SMALL.build(SPACE, seed=0),
        "predicts": lambda: Knower(),
        "proposes": lambda: RandomSettings().build(SPACE, seed=0),  # taken for one that is not blind
    }[kind]()
    table = bench("games").FromTable(strategy, view, tokens, is_blind=kind == "random", seed=0)
    taken = [s.tokens for _ in range(5) for s in table.suggest(8)]
    assert len(set(taken)) == 40
    assert set(taken) <= set(tokens)
    if kind == "predicts":
        counts = [t.count(0) for t in taken]
        assert counts == sorted((t.count(0) for t in tokens), reverse=True)[:40]
    again = bench("games").FromTable(strategy, view, tokens, is_blind=kind == "random", seed=0)
    assert len({s.tokens for s in again.suggest(len(tokens))}) == len(tokens) == 59


def test_a_game_on_the_table_is_worth_what_was_recorded(bench, recorded):
    view = bench("judges").SpaceView(SPACE)
    arguments = {"generation_size": 8, "lag": 1, "num_trials": 40, "seed": 0}
    course = bench("games").play_table(RandomSettings(), recorded, view, **arguments)
    known = np.nanmean(recorded.scores().values, axis=1)
    assert set(course.values) <= set(known.tolist())
    assert course.best == np.maximum.accumulate(course.values).tolist()  # nothing but recorded scores is told
    assert not any(course.duplicates)


def test_without_repeated_seeds_there_is_a_table_and_no_surrogate(bench, tmp_path: Path, monkeypatch, capsys):
    module = bench("bench_controllers")
    (tmp_path / "a.jsonl.gz").touch()
    monkeypatch.setattr(module, "RECORDS", tmp_path)
    monkeypatch.setattr(module, "recorded_candidates", lambda: None)
    monkeypatch.setattr(module, "recorded_noise", lambda landscape: None)
    played = module._landscapes(None, False)
    assert "table" in played
    assert "surrogate" not in played
    assert "the noise is not known, as no networks have several seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strategies", "rand"), "--strategies: rand is none of random, "),
        (("--strategies", "evolution:population=9"), "controller.population: "),
        (("--landscapes", "hills"), "--landscapes: hills is none of cross-scale links, short ways, "),
        (("--seeds", "1"), "--seeds must be at least 2 and --workers at least 1, got 1 and "),
    ],
)
def test_what_is_not_known_is_refused(bench, options, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_controllers.py", *options])
    assert bench("bench_controllers").main() == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith(message)
    assert captured.out == ""
