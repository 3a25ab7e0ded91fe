"""``search.rungs``: what it says, and what is refused."""

import itertools
import re

import pytest

from spinesearch.search.config.run_config import ConfigError, check_resumable, compose, run_config
from spinesearch.search.config.rungs import Rung, check_rungs, parse_rungs


@pytest.mark.parametrize(
    ("share", "num_compared", "num_kept"),
    [
        (0.33, 24, 8),
        (0.33, 3, 1),
        (0.5, 3, 2),
        (0.07, 100, 7),
        (0.01, 8, 1),
        (0.5, 1, 1),
        (0.5, 0, 0),
        (1 / 3, 9, 3),
    ],
)
def test_the_share_is_rounded_up_and_never_keeps_none(share: float, num_compared: int, num_kept: int):
    assert Rung(num_steps=100, share=share).num_kept(num_compared) == num_kept


def test_the_rungs_of_a_setting():
    assert parse_rungs(None, generation_size=8) == ()
    assert parse_rungs([[100, 0.5], (300, 0.3)], generation_size=8) == (
        Rung(num_steps=100, share=0.5),
        Rung(num_steps=300, share=0.3),
    )
    config = run_config(compose(["search.rungs=[[100, 0.5], [300, 0.3]]"]))
    assert config.search.halving[1] == Rung(num_steps=300, share=0.3)
    assert run_config(config.to_dict()) == config


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[300, 0.5], [100, 0.3]], "the steps must rise, got 100 after 300"),
        ([[300, 0.5], [300, 0.3]], "the steps must rise, got 300 after 300"),
        ([[100, 1.0]], "a share must lie between 0 and 1, got 1 at 100 steps, which keeps everything"),
        ([[100, 0]], "a share must lie between 0 and 1, got 0 at 100 steps, which keeps nothing"),
        ([[100, -1]], "a share must lie between 0 and 1, got -1 at 100 steps, which keeps nothing"),
        ([[100, 0.9]], "at 100 steps a share of 0.9 keeps all of the 8 candidates of a generation"),
        ([[100, 0.1], [300, 0.5]], "at 300 steps a share of 0.5 keeps all of the 1 candidates"),
        ([[0, 0.5]], "must be null or pairs of"),
        ([[1.5, 0.5]], "must be null or pairs of"),
        ([100, 0.5], "must be null or pairs of"),
        ([[100, "half"]], "must be null or pairs of"),
        ([[100, float("nan")]], "must be null or pairs of"),
        ([], "must be null or pairs of"),
    ],
)
def test_what_is_no_ladder_is_refused(value: list[object], message: str):
    with pytest.raises(ValueError, match=re.escape(f"search.rungs: {message}")):
        parse_rungs(value, generation_size=8)


def test_only_whole_generations_can_be_compared():
    config = compose(["search.rungs=[[100,0.5]]", "search.generation_size=8", "search.num_trials=63"])
    with pytest.raises(ConfigError, match=r"search\.num_trials: must be a multiple of search"):
        run_config(config)


def test_rungs_lie_within_the_training():
    rungs = (Rung(num_steps=100, share=0.5), Rung(num_steps=300, share=0.3))
    check_rungs(rungs, num_steps=301, warmup_steps=99)
    check_rungs((), num_steps=1, warmup_steps=5)
    with pytest.raises(ValueError, match="the last rung ends after 300 steps, which must be fewer than"):
        check_rungs(rungs, num_steps=300, warmup_steps=20)
    with pytest.raises(ValueError, match="the first rung ends after 100 steps, within the 100 of"):
        check_rungs(rungs, num_steps=900, warmup_steps=100)


def test_a_run_keeps_its_rungs():
    without, *others = (
        run_config(compose([f"search.rungs={value}"])) for value in ("null", "[[100,0.5]]", "[[100,0.3]]")
    )
    for recorded, wanted in itertools.permutations((without, *others), 2):
        with pytest.raises(ConfigError, match=r"search\.rungs: this run was begun with"):
            check_resumable(recorded, wanted)
    check_resumable(others[0], others[0])
