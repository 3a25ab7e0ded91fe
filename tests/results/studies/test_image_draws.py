"""AP on draws of the images: what the evaluators give where each stands as often as it was drawn."""

import numpy as np
import pytest

from spinesearch.results.studies.image_draws import NUM_DRAWS, Matched, image_draws
from spinesearch.training.measure.case import BoxColumns, EvaluationCase
from spinesearch.training.measure.evaluators import summary_numbers
from spinesearch.training.measure.matched import matched_bytes

STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ar100": 8}


def random_case(seed: int, *, num_images: int = 7, num_classes: int = 3) -> EvaluationCase:
    """Objects, some of them crowds, and detections near some of them, no two of one score."""
    rng = np.random.default_rng(seed)

    def boxes(num: int) -> np.ndarray:
        return np.concatenate([rng.uniform(0, 60, (num, 2)), rng.uniform(8, 40, (num, 2))], axis=1)

    num_true, num_found = rng.integers(1, 30), rng.integers(0, 90)
    truth = BoxColumns(
        images=np.sort(rng.integers(num_images, size=num_true)),
        labels=rng.integers(num_classes, size=num_true),
        xywh=boxes(num_true),
    )
    near = rng.integers(num_true, size=num_found)
    found_boxes = truth.xywh[near] + rng.normal(0, 2, (num_found, 4))
    is_far = rng.random(num_found) < 0.4
    found_boxes[is_far] = boxes(int(is_far.sum()))
    found = BoxColumns(
        images=np.where(is_far, rng.integers(num_images, size=num_found), truth.images[near]),
        labels=np.where(rng.random(num_found) < 0.1, 0, truth.labels[near]),
        xywh=found_boxes,
    )
    return EvaluationCase(
        num_images=num_images,
        num_classes=num_classes,
        truth=truth,
        areas=truth.xywh[:, 2] * truth.xywh[:, 3],
        is_crowd=rng.random(num_true) < 0.15,
        found=found,
        scores=rng.permutation(num_found).astype(np.float32).astype(np.float64) / 100 + 0.05,
    )


def copied(case: EvaluationCase, counts: np.ndarray) -> EvaluationCase:
    """The case with each image as often as drawn, the copies of one beside each other."""
    sources = np.repeat(np.arange(case.num_images), counts)

    def rows(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(row, new) for new, old in enumerate(sources) for row in np.flatnonzero(images == old)]
        array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    true_rows, true_images = rows(case.truth.images)
    found_rows, found_images = rows(case.found.images)
    return EvaluationCase(
        num_images=len(sources),
        num_classes=case.num_classes,
        truth=BoxColumns(
            images=true_images, labels=case.truth.labels[true_rows], xywh=case.truth.xywh[true_rows]
        ),
        areas=case.areas[true_rows],
        is_crowd=case.is_crowd[true_rows],
        found=BoxColumns(
            images=found_images, labels=case.found.labels[found_rows], xywh=case.found.xywh[found_rows]
        ),
        scores=case.scores[found_rows],
    )


@pytest.mark.parametrize("seed", range(25))
def test_the_numbers_are_the_evaluators(seed: int):
    """On all images once, and on two draws of them."""
    case = random_case(seed)
    matched = Matched.from_bytes(matched_bytes(case))
    shares = np.full(case.num_images, 1 / case.num_images)
    draws = np.random.default_rng(seed).multinomial(case.num_images, shares, size=2)
    weights = np.concatenate([np.ones((1, case.num_images), dtype=np.int64), draws])
    found = {name: matched.metric(name, weights.astype(np.float64)) for name in STATS}
    for r, counts in enumerate(weights):
        stats = summary_numbers("pycocotools", copied(case, counts))
        for name, place in STATS.items():
            expected = np.nan if stats[place] < 0 else stats[place]
            assert found[name][r] == pytest.approx(expected, abs=1e-12, nan_ok=True), (name, r)


def test_typed_out():
    """Two images of one object each, found with scores .9 and .5, and a wrong detection of .7 between.

    Recall .5 has precision 1, recall 1 has 2/3: (51 x 1 + 50 x 2/3) / 101. Without the first image the wrong
    one, in the second, comes first: precision 1/2 everywhere. With the first image alone all is right.
    """
    matched = Matched(
        images="0",
        num_true=np.array([[1.0, 1.0]]),
        image=np.array([0, 1, 1]),
        label=np.zeros(3, np.int64),
        matched=np.tile(np.array([[True], [False], [True]]), 10),
        ignored=np.zeros((3, 10), np.bool_),
    )
    weights = np.array([[1.0, 1.0], [0.0, 2.0], [2.0, 0.0], [0.0, 0.0]])
    for name in ("ap", "ap50", "ap75"):
        expected = [(51 + 50 * 2 / 3) / 101, 0.5, 1.0, np.nan]
        np.testing.assert_allclose(matched.metric(name, weights), expected, rtol=1e-12)
    np.testing.assert_allclose(matched.metric("ar100", weights), [1.0, 1.0, 1.0, np.nan])


def test_draws_are_the_same_for_the_same_images_and_no_others():
    assert image_draws(50, "00ff") is image_draws(50, "00ff")
    draws = image_draws(50, "00ff")
    assert draws.shape == (NUM_DRAWS, 50)
    assert (draws.sum(axis=1) == 50).all()
    assert not np.array_equal(draws, image_draws(50, "00fe"))
    image_draws.cache_clear()
    np.testing.assert_array_equal(image_draws(50, "00ff"), draws)


def test_the_file_says_which_images_and_not_which_classes():
    case = random_case(3)
    matched = Matched.from_bytes(matched_bytes(case))
    merged = EvaluationCase(
        num_images=case.num_images,
        num_classes=1,
        truth=BoxColumns(
            images=case.truth.images, labels=np.zeros_like(case.truth.labels), xywh=case.truth.xywh
        ),
        areas=case.areas,
        is_crowd=case.is_crowd,
        found=case.found,
        scores=case.scores,
    )
    assert Matched.from_bytes(matched_bytes(merged)).images == matched.images
    assert Matched.from_bytes(matched_bytes(random_case(4))).images != matched.images
    assert matched.num_true.sum() == (~case.is_crowd).sum()
