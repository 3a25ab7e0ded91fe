"""The random numbers that candidates are made of, typed out.

NumPy keeps the bits of PCG64 and of SeedSequence, but not what `Generator` makes of them: "does not provide a
version compatibility guarantee". Samplers use two of its methods only, ``random`` and ``integers``. Should
one of these tests fail with a newer NumPy, the same seed proposes other candidates with it: recorded runs
resume with what their ledgers hold, and new runs are no longer those of the earlier NumPy.
"""

import math

import pytest

from spinesearch.controller.protocol import candidate_rng
from spinesearch.controller.random import RandomController
from spinesearch.controller.reinforce import IN_OLD_LEDGERS, ReinforceController, ReinforceSettings
from spinesearch.space import SpineNetSpace

# By seed and candidate: the first of `random()`, the first of `integers(10)`.
STREAMS = {
    (0, 0): (
        [0.6369616873214543, 0.2697867137638703, 0.04097352393619469],
        [8, 6, 5, 2, 3, 0, 0, 0],
    ),
    (0, 1): (
        [0.8897387912781343, 0.5571380502062263, 0.8009080868919721],
        [5, 8, 9, 5, 3, 8, 2, 9],
    ),
    (7, 14000): (
        [0.1723661208050027, 0.9596291140909512, 0.1831795610285598],
        [7, 1, 3, 9, 9, 1, 1, 9],
    ),
}


@pytest.mark.parametrize(("seed", "candidate"), STREAMS)
def test_the_first_numbers_of_a_candidate(seed: int, candidate: int):
    reals, whole_numbers = STREAMS[seed, candidate]
    assert candidate_rng(seed, candidate).random(3).tolist() == reals
    rng = candidate_rng(seed, candidate)
    assert [rng.random() for _ in range(3)] == reals
    assert candidate_rng(seed, candidate).integers(10, size=8).tolist() == whole_numbers
    rng = candidate_rng(seed, candidate)
    assert [int(rng.integers(10)) for _ in range(8)] == whole_numbers


# Choices of the space `spinenet`, by seed 3.
RANDOM = [
    "1 3 2 1 2 2 2 1 0 2 4 2 3 1 0 0 1 0 1 2 3 0 1 1 2 2 4 1 2 2 3 0 3 3 4 3 9 4 8 9 10 4 13 0 15 0 3 "
    "3 1 0 1 0 3 2 2 0 0 0 1 0 0 0 1 1 0 0 0 1 1 1",
    "1 2 2 0 1 2 2 2 1 3 1 0 3 4 2 0 1 1 2 2 3 2 3 0 3 1 3 1 4 3 4 0 3 1 2 6 9 6 11 3 4 2 10 2 8 1 1 "
    "2 3 1 2 2 0 0 1 1 1 0 1 0 0 0 0 0 1 1 0 0 1 1",
]
UNTRAINED = [
    "0 1 3 2 1 1 2 2 2 2 1 3 2 4 0 0 1 1 2 0 1 3 4 1 4 2 3 3 4 2 3 0 3 3 4 6 8 8 11 2 12 9 13 12 14 3 "
    "3 0 3 1 1 0 2 1 3 0 1 0 1 0 0 1 1 1 1 0 1 0 1 1",
    "1 1 1 2 2 3 0 2 2 2 2 1 3 4 0 0 1 1 2 0 2 1 4 2 3 1 4 2 3 1 3 1 3 2 3 3 8 7 9 7 10 3 5 2 9 0 1 0 "
    "1 1 3 0 1 2 0 1 0 0 1 0 1 1 1 0 1 0 0 0 0 0",
]


def test_the_first_candidates_of_a_random_search():
    suggestions = RandomController(SpineNetSpace(), seed=3).suggest(2)
    assert [" ".join(map(str, suggestion.tokens)) for suggestion in suggestions] == RANDOM


def test_the_first_candidates_of_an_untrained_policy_of_an_old_run():
    """Every allowed choice alike; which one is decided by the candidate's own uniform numbers."""
    suggestions = ReinforceController(
        SpineNetSpace(), seed=3, settings=ReinforceSettings(**IN_OLD_LEDGERS)
    ).suggest(2)
    assert [" ".join(map(str, suggestion.tokens)) for suggestion in suggestions] == UNTRAINED
    assert math.isclose(sum(suggestions[0].log_probs), -72.07277339737931, abs_tol=7e-5)
