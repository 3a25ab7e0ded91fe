from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest

from spinesearch.data.coco.read import CocoDataset, load_coco
from spinesearch.training.measure.evaluate import CocoMetrics, coco_metrics

SharedData = Callable[[str], tuple[str, str]]


def evaluate_lists(
    dataset: CocoDataset, index: list[int], found: list[list[tuple[list[float], float, int]]]
) -> CocoMetrics:
    """Metrics of (box, score, label) lists, one per image."""
    most = max(map(len, found))
    boxes = np.zeros((len(index), most, 4), np.float32)
    scores = np.zeros((len(index), most), np.float32)
    labels = np.zeros((len(index), most), np.int64)
    for n, rows in enumerate(found):
        for d, (box, score, label) in enumerate(rows):
            boxes[n, d], scores[n, d], labels[n, d] = box, score, label
    return coco_metrics(dataset, index, boxes, scores, labels)


def perfect(dataset: CocoDataset, index: list[int]) -> list[list[tuple[list[float], float, int]]]:
    return [
        [
            (box.tolist(), 1.0, int(label))
            for box, label, crowd in zip(
                dataset.boxes_xyxy[i], dataset.labels[i], dataset.is_crowd[i], strict=True
            )
            if not crowd
        ]
        for i in index
    ]


def test_perfect_predictions_on_coco_with_crowd_regions(
    shared_data: SharedData, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_coco(*shared_data("coco_tiny100"))
    index = list(range(len(dataset.images)))
    assert sum(int(crowd.sum()) for crowd in dataset.is_crowd) == 5
    metrics = evaluate_lists(dataset, index, perfect(dataset, index))
    assert list(asdict(metrics).values()) == pytest.approx([1.0] * 7, abs=1e-12)
    assert capsys.readouterr().out == ""


def test_detections_inside_a_crowd_region_are_neither_right_nor_wrong(shared_data: SharedData) -> None:
    dataset = load_coco(*shared_data("coco_tiny100"))
    i = next(i for i, crowd in enumerate(dataset.is_crowd) if crowd.any() and not crowd.all())
    found = perfect(dataset, [i])
    crowd = int(np.flatnonzero(dataset.is_crowd[i])[0])
    label = int(dataset.labels[i][crowd])
    x1, y1, x2, y2 = dataset.boxes_xyxy[i][crowd].tolist()
    found[0] += [([x1, y1, (x1 + x2) / 2, (y1 + y2) / 2], 1.0, label)]
    assert evaluate_lists(dataset, [i], found).ap == pytest.approx(1.0)


def test_perfect_predictions_on_blood_cells(shared_data: SharedData) -> None:
    dataset = load_coco(*shared_data("bccd"))
    index = list(range(len(dataset.images)))
    metrics = asdict(evaluate_lists(dataset, index, perfect(dataset, index)))
    # The data set's README: of three overlapping cells of equal score one is too small to count, and they
    # steal each other's match.
    assert metrics.pop("ap_large") == pytest.approx(0.99998753, abs=5e-9)
    assert list(metrics.values()) == pytest.approx([1.0] * 6, abs=1e-12)


def test_no_detections_and_undefined_sizes(tiny_coco) -> None:  # type: ignore[no-untyped-def]
    dataset = tiny_coco.load()
    metrics = evaluate_lists(dataset, [0, 1, 2, 3], [[], [], [], []])
    assert metrics == CocoMetrics(
        ap=0.0, ap50=0.0, ap75=0.0, ap_small=0.0, ap_medium=None, ap_large=None, ar100=0.0
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_detection_whose_box_is_not_finite_is_none(tiny_coco, value: float) -> None:  # type: ignore[no-untyped-def]
    dataset = tiny_coco.load()
    i = [image.id for image in dataset.images].index(11)
    label = int(dataset.labels[i][0])
    right = ([10.0, 10.0, 30.0, 40.0], 0.5, label)
    for place in range(4):
        box = [10.0, 10.0, 30.0, 40.0]
        box[place] = value
        assert evaluate_lists(dataset, [i], [[(box, 0.9, label), right]]).ap == pytest.approx(1.0)
        assert evaluate_lists(dataset, [i], [[(box, 0.9, label)]]).ap == 0.0


def test_scores_rank_and_the_index_selects_images(tiny_coco) -> None:  # type: ignore[no-untyped-def]
    dataset = tiny_coco.load()
    ids = [image.id for image in dataset.images]
    i = ids.index(11)  # one dog at (10, 10, 30, 40)
    label = int(dataset.labels[i][0])
    right, wrong = [10.0, 10.0, 30.0, 40.0], [40.0, 40.0, 60.0, 60.0]
    assert evaluate_lists(dataset, [i], [[(right, 0.9, label), (wrong, 0.2, label)]]).ap == pytest.approx(1.0)
    assert evaluate_lists(dataset, [i], [[(right, 0.2, label), (wrong, 0.9, label)]]).ap == pytest.approx(0.5)
    assert evaluate_lists(dataset, [i], [[(right, 0.9, 1 - label)]]).ap == 0.0
    half = [
        10.0,
        10.0,
        30.0,
        28.0,
    ]  # IoU 0.6: right at the thresholds 0.50, 0.55 and 0.60, wrong at the other seven
    assert evaluate_lists(dataset, [i], [[(half, 0.9, label)]]).ap == pytest.approx(0.3)
