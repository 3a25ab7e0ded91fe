"""Evolution and local search: who is mutated, and who leaves."""

import pytest

from spinesearch.controller import Rollout
from spinesearch.controller.evolution import EvolutionController, EvolutionSettings
from spinesearch.controller.local_search import LocalSearchController, LocalSearchSettings
from spinesearch.space import SpineNetSpace

SPACE = SpineNetSpace(base_levels={2: 1, 4: 2, 5: 1}, window=2, level_offsets=(0, 1))


def told(suggestions, rewards, first: int = 0) -> list[Rollout]:
    return [
        Rollout(trial=i, tokens=s.tokens, info=s.info, reward=reward)
        for i, (s, reward) in enumerate(zip(suggestions, rewards, strict=True), start=first)
    ]


def is_child(space: SpineNetSpace, child, parent) -> bool:
    """Whether few choices differ: two blocks that are swapped take level, offset and type along."""
    return 1 <= sum(a != b for a, b in zip(child, parent, strict=True)) <= 6


def test_the_best_of_a_tournament_is_mutated_and_the_oldest_leaves():
    settings = EvolutionSettings(population_size=4, tournament_size=4)
    controller = EvolutionController(SPACE, seed=0, settings=settings)
    first = controller.suggest(3)
    stats = controller.update(told(first, [0.9, 0.1, 0.2]))
    assert stats == {"population": 3.0, "population_mean": pytest.approx(0.4)}
    second = controller.suggest(1)
    assert second[0].info == {}  # the population is not complete
    controller.update(told(second, [0.3], first=3))
    children = controller.suggest(20)
    parents = [child.info["parent"] for child in children]
    assert parents.count(0) > 10  # of four draws one is the best with a probability of .68
    for child in children:
        assert is_child(SPACE, child.tokens, [*first, *second][child.info["parent"]].tokens)
    controller.update(told(children[:1], [0.0], first=4))  # the best, trial 0, is the oldest
    assert {child.info["parent"] for child in controller.suggest(20)} <= {1, 2, 3, 4}


def test_local_search_steps_to_what_is_better_and_begins_anew_at_a_top():
    controller = LocalSearchController(SPACE, seed=0, settings=LocalSearchSettings(patience=3))
    start = controller.suggest(3)
    assert all(suggestion.info == {"climb": 0} for suggestion in start)
    controller.update(told(start, [0.1, 0.4, 0.2]))
    near = controller.suggest(3)
    assert all(suggestion.info == {"climb": 0, "parent": 1} for suggestion in near)
    assert all(is_child(SPACE, suggestion.tokens, start[1].tokens) for suggestion in near)
    late = controller.suggest(2)
    assert controller.update(told(near, [0.3, 0.5, 0.3], first=3))["climb_best"] == 0.5
    assert {suggestion.info["parent"] for suggestion in controller.suggest(3)} == {4}
    controller.update(told(late, [0.1, 0.1], first=6))  # three in a row, with the last of before
    assert all(suggestion.info == {"climb": 1} for suggestion in controller.suggest(2))
    # What was proposed in the climb before is not where the new one begins.
    stats = controller.update(told(late, [0.99, 0.99], first=8))
    assert stats == {"climb": 1.0}


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (EvolutionSettings, "population_size", 1),
        (EvolutionSettings, "tournament_size", 0),
        (EvolutionSettings, "tournament_size", 41),
        (LocalSearchSettings, "patience", 0),
    ],
)
def test_bad_settings_name_the_field(settings, field, value):
    with pytest.raises(ValueError, match=f"controller.{field}: must .*, got {value}"):
        settings(**{field: value})
