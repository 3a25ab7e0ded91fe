import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from long_suite import few

from spinesearch.data.coco.read import CocoDataset, load_coco
from spinesearch.training.measure import evaluators
from spinesearch.training.measure.case import BoxColumns, EvaluationCase
from spinesearch.training.measure.evaluate import coco_metrics
from spinesearch.training.measure.evaluators import find_evaluator, summary_numbers
from spinesearch.training.setting_rules import EVALUATORS

FAST = ("hotcoco", "faster_coco_eval")
Detections = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes [N, D, 4], scores [N, D], labels [N, D]


def case_of(
    truth: list[tuple[int, int, list[float], float, bool]],
    found: list[tuple[int, int, list[float], float]],
    *,
    num_images: int = 1,
    num_classes: int = 1,
) -> EvaluationCase:
    """Of (image, label, [x, y, w, h], area, is crowd) and (image, label, [x, y, w, h], score)."""
    columns = [
        BoxColumns(
            images=np.array([row[0] for row in rows], np.int64),
            labels=np.array([row[1] for row in rows], np.int64),
            xywh=np.array([row[2] for row in rows], np.float64).reshape(-1, 4),
        )
        for rows in (truth, found)
    ]
    return EvaluationCase(
        num_images=num_images,
        num_classes=num_classes,
        truth=columns[0],
        areas=np.array([row[3] for row in truth], np.float64),
        is_crowd=np.array([row[4] for row in truth], np.bool_),
        found=columns[1],
        scores=np.array([row[3] for row in found], np.float64),
    )


def random_case(rng: np.random.Generator) -> EvaluationCase:
    """A few images: crowds, none or many boxes, areas on the borders of the size ranges, equal scores."""
    num_images, num_classes = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    num_scores = rng.choice([1, 5, 10**6])  # different ones
    truth, found = [], []
    for image in range(num_images):
        objects = []
        for _ in range(rng.integers(0, 12) * (rng.random() < 0.8)):
            sides = rng.choice([0.0, 1.0, 2.0, 10.0, 32.0, 50.0, 96.0, 200.0], 2)
            box = [*(rng.random(2) * 100), *(sides * rng.choice([1.0, 1.3]))]
            if rng.random() < 0.5:
                box = np.round(box).tolist()
            area = rng.choice([box[2] * box[3], box[2] * box[3] * rng.random(), 0.0, 32.0**2, 96.0**2, 1e11])
            objects.append((image, int(rng.integers(num_classes)), box, float(area), rng.random() < 0.15))
        num_found = rng.integers(100, 180) if rng.random() < 0.05 else rng.integers(20) * (rng.random() < 0.8)
        for _ in range(num_found):
            label, box = int(rng.integers(num_classes)), (rng.random(4) * 100).tolist()
            if objects and rng.random() < 0.7:
                _, label, box, *_ = objects[rng.integers(len(objects))]
                label = label if rng.random() < 0.85 else int(rng.integers(num_classes))
            if rng.random() < 0.6:
                box = [*(box[:2] + 2 * rng.normal(size=2)), *np.abs(box[2:] + 2 * rng.normal(size=2))]
            found.append((image, label, box, float(rng.integers(1, num_scores + 1) / num_scores)))
        truth += objects
    return case_of(truth, found, num_images=num_images, num_classes=num_classes)


def differences(case: EvaluationCase) -> dict[str, float]:
    """Largest difference from pycocotools of each of the others, over the twelve numbers."""
    reference = summary_numbers("pycocotools", case)
    assert reference.shape == (12,)
    return {name: float(np.abs(summary_numbers(name, case) - reference).max()) for name in FAST}


def check_many(num_cases: int, *, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = set()
    for _ in range(num_cases):
        case = random_case(rng)
        found = differences(case)
        assert found["hotcoco"] == 0.0
        assert found["faster_coco_eval"] <= 1e-12
        per_image = np.bincount(case.found.images, minlength=case.num_images)
        kinds |= {
            ("crowd", bool(case.is_crowd.any())),
            ("objects", len(case.areas) > 0),
            ("detections", len(case.scores) > 0),
            ("image without detections", bool((per_image == 0).any())),
            ("more than 100 in an image", bool((per_image > 100).any())),
            ("equal scores", len(set(case.scores)) < len(case.scores)),
        }
    assert len(kinds) == 12  # every kind of case, and the opposite of it


def test_all_agree_on_random_cases() -> None:
    check_many(100, seed=0)


@pytest.mark.slow
def test_all_agree_on_thousands_of_random_cases() -> None:
    check_many(10_000, seed=1)


BOX, FAR = [10.0, 10.0, 40.0, 40.0], [200.0, 200.0, 40.0, 40.0]


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize(
    ("case", "numbers"),
    [
        # Index of the number: 0 AP, 1 AP50, 3 small, 4 medium, 5 large, 8 AR100.
        (case_of([], []), {0: -1, 8: -1}),
        (case_of([], [(0, 0, BOX, 0.5)]), {0: -1, 8: -1}),
        (case_of([(0, 0, BOX, 1600, False)], []), {0: 0, 1: 0, 3: -1, 4: 0, 5: -1, 8: 0}),
        (case_of([(0, 0, BOX, 1600, False)], [(0, 0, BOX, 0.5)]), {0: 1, 1: 1, 4: 1, 8: 1}),
        # A class without objects does not count, whatever is found of it.
        (case_of([(0, 0, BOX, 1600, False)], [(0, 0, BOX, 0.5), (0, 1, BOX, 0.9)], num_classes=2), {0: 1}),
        # The border of small and medium belongs to both, and so does that of medium and large.
        (case_of([(0, 0, BOX, 32**2, False)], [(0, 0, BOX, 0.5)]), {3: 1, 4: 1, 5: -1}),
        (case_of([(0, 0, BOX, 96**2, False)], [(0, 0, BOX, 0.5)]), {3: -1, 4: 1, 5: 1}),
        # No area is small.
        (case_of([(0, 0, BOX, 0.0, False)], [(0, 0, BOX, 0.5)]), {0: 1, 3: 1, 4: -1}),
        # What lies in a crowd is neither right nor wrong, even several times; alone it is no object.
        (
            case_of(
                [(0, 0, BOX, 1600, False), (0, 0, [200, 200, 400, 400], 160000, True)],
                [(0, 0, FAR, 0.9), (0, 0, FAR, 0.8), (0, 0, BOX, 0.5)],
            ),
            {0: 1, 8: 1},
        ),
        (case_of([(0, 0, BOX, 1600, True)], [(0, 0, BOX, 0.5)]), {0: -1}),
        # A second detection of one object is wrong, but comes too late to cost anything.
        (case_of([(0, 0, BOX, 1600, False)], [(0, 0, BOX, 0.9), (0, 0, BOX, 0.8)]), {0: 1}),
        # Of equal scores the earlier image counts first: one wrong before the only right one.
        (
            case_of(
                [(1, 0, BOX, 1600, False)], [(1, 0, BOX, 0.5), (0, 0, BOX, 0.5)], num_images=2, num_classes=1
            ),
            {0: 0.5},
        ),
        # Only a hundred of a class and image count: the right one is the hundredth, or comes after.
        (case_of([(0, 0, BOX, 1600, False)], [(0, 0, FAR, 0.9)] * 99 + [(0, 0, BOX, 0.5)]), {0: 0.01, 8: 1}),
        (case_of([(0, 0, BOX, 1600, False)], [(0, 0, FAR, 0.9)] * 100 + [(0, 0, BOX, 0.5)]), {0: 0, 8: 0}),
    ],
)
def test_numbers_typed_by_hand(evaluator: str, case: EvaluationCase, numbers: dict[int, float]) -> None:
    found = summary_numbers(evaluator, case)
    assert {i: found[i] for i in numbers} == pytest.approx(numbers, abs=1e-12)


def synthetic_detections(dataset: CocoDataset, index: list[int], seed: int) -> Detections:
    """Jittered truth, some of it twice or as another class, and boxes anywhere; up to 150 an image."""
    rng = np.random.default_rng(seed)
    shape = (len(index), 150)
    boxes, scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
    labels = rng.integers(len(dataset.categories), size=shape)
    for row, i in enumerate(index):
        low = rng.random((shape[1], 2)) * [dataset.images[i].width, dataset.images[i].height]
        boxes[row] = np.concatenate((low, low + rng.random((shape[1], 2)) * 100), axis=1)
        num_objects = len(dataset.labels[i])
        for d in range(rng.integers(shape[1] + 1)):
            scores[row, d] = rng.choice([rng.random(), 0.5])
            if num_objects and rng.random() < 0.6:
                n = rng.integers(num_objects)
                box = dataset.boxes_xyxy[i][n]
                box = box + 0.05 * rng.normal(size=4) * np.tile(box[2:] - box[:2], 2)
                boxes[row, d] = [*box[:2], *np.maximum(box[2:], box[:2])]
                labels[row, d] = dataset.labels[i][n] if rng.random() < 0.9 else labels[row, d]
    return boxes, scores, labels


@pytest.mark.slow
@pytest.mark.parametrize("name", few(["bccd", "coco_tiny100"], ["coco_tiny100"]))
def test_all_agree_on_real_data(name: str, shared_data: Callable[[str], tuple[str, str]]) -> None:
    dataset = load_coco(*shared_data(name))
    index = list(range(0, len(dataset.images), 1 + len(dataset.images) // 100))  # about a hundred
    for seed in range(2):
        found = synthetic_detections(dataset, index, seed)
        reference = coco_metrics(dataset, index, *found, evaluator="pycocotools")
        assert reference.ap is not None
        assert 0.05 < reference.ap < 0.95
        assert coco_metrics(dataset, index, *found, evaluator="hotcoco") == reference
        for field in reference.__dataclass_fields__:
            other = getattr(coco_metrics(dataset, index, *found, evaluator="faster_coco_eval"), field)
            assert other == pytest.approx(getattr(reference, field), abs=1e-12)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_ids_of_the_file_do_not_matter(evaluator: str, tiny_coco) -> None:  # type: ignore[no-untyped-def]
    """Annotation ids from 0, a negative image id, scattered category ids: all objects are found."""
    for n, annotation in enumerate(tiny_coco.document["annotations"]):
        annotation["id"] = n
        annotation["image_id"] = -5 if annotation["image_id"] == 7 else annotation["image_id"]
    tiny_coco.document["images"][0]["id"] = -5
    dataset = tiny_coco.load()
    assert [image.id for image in dataset.images] == [-5, 3, 11, 20]
    boxes = np.zeros((4, 2, 4), np.float32)
    scores, labels = np.zeros((4, 2), np.float32), np.zeros((4, 2), np.int64)
    for i, rows in enumerate(dataset.boxes_xyxy):
        boxes[i, : len(rows)], scores[i, : len(rows)], labels[i, : len(rows)] = rows, 0.9, dataset.labels[i]
    metrics = coco_metrics(dataset, [0, 1, 2, 3], boxes, scores, labels, evaluator=evaluator)
    assert metrics.ap == pytest.approx(1.0, abs=1e-12)
    assert metrics.ar100 == 1.0


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_box_that_is_not_finite_is_no_detection(evaluator: str, tiny_coco) -> None:  # type: ignore[no-untyped-def]
    dataset = tiny_coco.load()
    boxes = np.array([[[10.0, 10.0, 30.0, 40.0], [np.nan, 0.0, 1.0, 1.0], [0.0, 0.0, np.inf, 1.0]]])
    label = int(dataset.labels[2][0])
    metrics = coco_metrics(
        dataset, [2], boxes, np.array([[0.5, 0.9, 0.8]]), np.full((1, 3), label), evaluator=evaluator
    )
    assert metrics.ap == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_prints_nothing(evaluator: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        summary_numbers(evaluator, random_case(rng))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes a library one that cannot be imported."""

    def hide(module: str) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        evaluators._is_here.cache_clear()

    yield hide
    evaluators._is_here.cache_clear()


def test_auto_takes_the_fastest_there_is(absent: Callable[[str], None]) -> None:
    assert find_evaluator("auto") == "hotcoco"
    absent("hotcoco")
    assert find_evaluator("auto") == "faster_coco_eval"
    absent("faster_coco_eval")
    assert find_evaluator("auto") == "pycocotools"
    case = case_of([(0, 0, BOX, 1600, False)], [(0, 0, BOX, 0.5)])
    assert summary_numbers("auto", case)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "requirement"), [("hotcoco", "hotcoco>=1.3"), ("faster_coco_eval", "faster-coco-eval>=1.8")]
)
def test_one_that_is_absent_says_what_to_install(
    name: str, requirement: str, absent: Callable[[str], None]
) -> None:
    assert find_evaluator(name) == name
    absent(name)
    message = rf"^proxy_task.evaluator: {name} cannot be imported; pip install '{requirement}', or set .*auto"
    with pytest.raises(ValueError, match=message):
        find_evaluator(name)
