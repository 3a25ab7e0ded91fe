"""Detection against plain Python that follows the authors' procedure one image and one class at a time."""

import itertools
import math

import numpy as np
import pytest
import torch
from long_suite import few
from torch import Tensor

from spinesearch.models.heads import detect
from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.boxes import decode_boxes, encode_boxes
from spinesearch.models.heads.detect import (
    MAX_CANDIDATES,
    MAX_DETECTIONS,
    SCORE_THRESHOLD,
    Detections,
    detect_objects,
    non_maximum_suppression,
)

Box = tuple[float, ...]


def excess(a: Box, b: Box) -> float:
    """Above 0 where the IoU is above one half; exact where the corners are integers."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return 2 * both - union


def plain_nms(boxes: list[Box], scores: list[float]) -> list[int]:
    """Rows kept of one class, best first; of equal scores the first."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if scores[i] > 0 and not any(excess(boxes[i], boxes[j]) > 0 for j in kept):
            kept.append(i)
    return kept


def plain_nms_of_classes(boxes: list[Box], scores: list[float], labels: list[int], most: int) -> list[int]:
    kept: list[int] = []
    for label in sorted(set(labels)):
        rows = [i for i in range(len(labels)) if labels[i] == label]
        kept += [rows[i] for i in plain_nms([boxes[i] for i in rows], [scores[i] for i in rows])]
    return sorted(kept, key=lambda i: (-scores[i], i))[:most]


@pytest.mark.parametrize("clusters", few([1, 2, 5, 30], [2, 30]))
@pytest.mark.parametrize("most", [4, 100])
def test_suppression_is_the_plain_one_on_thousands_of_cases(clusters: int, most: int) -> None:
    """Integer corners, so that overlaps of exactly one half are many and no rounding decides."""
    rng = np.random.default_rng(clusters)
    num_images, num_boxes = 500, 30
    places = rng.integers(0, 40, (num_images, clusters, 2))
    low = np.take_along_axis(places, rng.integers(clusters, size=(num_images, num_boxes, 1)), axis=1)
    low = low + rng.integers(0, 4, low.shape)
    boxes = np.concatenate((low, low + rng.integers(0, 13, low.shape)), axis=2)  # some without area
    scores = rng.integers(0, 20, (num_images, num_boxes)) / 20  # many equal, some 0
    labels = rng.integers(0, 3, (num_images, num_boxes))
    rows = non_maximum_suppression(
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels),
        max_detections=most,
    )
    num_halves = 0
    for i in range(num_images):
        cells = [tuple(map(float, box)) for box in boxes[i]]
        kept = [row for row in rows[i].tolist() if row >= 0]
        assert kept == plain_nms_of_classes(cells, scores[i].tolist(), labels[i].tolist(), most)
        pairs = itertools.combinations(kept, 2)
        num_halves += sum(
            labels[i][a] == labels[i][b] and excess(cells[a], cells[b]) == 0 < excess(cells[a], cells[a])
            for a, b in pairs
        )
    assert num_halves > 5 or most == 4


def test_classes_are_not_distinguished_by_moving_them() -> None:
    """At the offset that 80 classes of 1333 px images need, float32 coordinates come in steps of 2**-7."""
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.501]]])
    scores, labels = torch.tensor([[0.9, 0.8]]), torch.tensor([[79, 79]])
    assert non_maximum_suppression(boxes, scores, labels)[0].tolist() == [0]  # 0.501 is over one half
    moved = boxes + 79 * 1334.0
    assert non_maximum_suppression(moved, scores, labels)[0].tolist() == [0, 1]  # the trick would keep both
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 2])
    assert non_maximum_suppression(boxes, scores, torch.tensor([[3, 79]]))[0].tolist() == [0, 1]


Row = tuple[float, int, Box]  # score, class, box


def plain_detections(
    cls_logits: Tensor, box_deltas: Tensor, anchors: Tensor, scale: float, size: tuple[float, float]
) -> list[Row]:
    """The detections of one image, in the authors' order of steps (`_generate_detections_v1`)."""
    boxes = (decode_boxes(box_deltas.float(), anchors) / scale).tolist()
    limits = (*size, *size)
    boxes = [
        tuple(min(max(side, 0.0), limit) for side, limit in zip(box, limits, strict=True)) for box in boxes
    ]
    found = []
    for label, column in enumerate(cls_logits.T.tolist()):
        best = sorted(range(len(column)), key=lambda a, column=column: -column[a])[: detect.MAX_CANDIDATES]
        best = [a for a in best if score_of(column[a]) > SCORE_THRESHOLD]
        kept = plain_nms([boxes[a] for a in best], [score_of(column[a]) for a in best])[:MAX_DETECTIONS]
        found += [(column[best[i]], label, boxes[best[i]]) for i in kept]
    found.sort(key=lambda row: -row[0])  # stable: the lower class first
    return [(score_of(logit), label, box) for logit, label, box in found[:MAX_DETECTIONS]]


def score_of(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def rows_of(found: Detections, b: int) -> list[Row]:
    count = int((found.scores[b] > 0).sum())
    assert (found.scores[b, count:] == 0).all()
    columns = (found.scores[b, :count], found.labels[b, :count], found.boxes[b, :count])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(score, label, tuple(box)) for score, label, box in rows]


def check_equal(found: list[Row], expected: list[Row]) -> None:
    """The same classes in the same order; the last bit of an exponential depends on its place in a tensor."""
    assert [row[1] for row in found] == [row[1] for row in expected]
    assert [row[0] for row in found] == pytest.approx([row[0] for row in expected], rel=1e-6)
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=1e-6, atol=1e-5)


def random_output(
    batch: int, num_classes: int, *, seed: int, bfloat16: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, codes and the anchors of a 128 px image, with from none to most pairs over the threshold."""
    generator = torch.Generator().manual_seed(seed)
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    level = -9.0 + 8.0 * torch.rand(batch, 1, 1, generator=generator)
    logits = level + 1.5 * torch.randn(batch, len(anchors), num_classes, generator=generator)
    deltas = 0.4 * torch.randn(batch, len(anchors), 4, generator=generator)
    if bfloat16:
        logits, deltas = logits.bfloat16(), deltas.bfloat16()
    return logits, deltas, anchors


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("max_candidates", few([3, 40, MAX_CANDIDATES], 2))
def test_detections_are_those_of_the_authors_procedure(
    max_candidates: int, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few candidates allowed per class, the look at more of them and the limit per class matter."""
    monkeypatch.setattr(detect, "MAX_CANDIDATES", max_candidates)
    num_full = num_scarce = 0
    for seed in range(3):
        logits, deltas, anchors = random_output(5, 5, seed=seed, bfloat16=bfloat16)
        scales, sizes = torch.full((5,), 0.5), torch.tensor([[256.0, 200.0]] * 5)
        found = detect_objects(logits, deltas, anchors, scales, sizes)
        for b in range(5):
            expected = plain_detections(logits[b], deltas[b], anchors, 0.5, (256.0, 200.0))
            check_equal(rows_of(found, b), expected)
            num_full += len(expected) == MAX_DETECTIONS
            num_scarce += len(expected) < 5
    assert num_scarce > 0
    assert (num_full > 0) == (max_candidates > 3)  # 5 classes x 3 candidates make no hundred


@pytest.mark.parametrize("bfloat16", [False, True])
def test_batched_equals_single(bfloat16: bool) -> None:
    """bfloat16 logits are often equal, which what else is in the batch must not decide."""
    logits, deltas, anchors = random_output(4, 5, seed=7, bfloat16=bfloat16)
    if bfloat16:
        assert len(logits[0].unique()) < logits[0].numel() / 4
    scales, sizes = torch.ones(4), torch.full((4, 2), 128.0)
    together = detect_objects(logits, deltas, anchors, scales, sizes)
    for b in range(4):
        one = slice(b, b + 1)
        alone = detect_objects(logits[one], deltas[one], anchors, scales[one], sizes[one])
        check_equal(rows_of(together, b), rows_of(alone, 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bfloat16", [False, True])
def test_cuda_finds_the_same(bfloat16: bool) -> None:
    logits, deltas, anchors = random_output(16, 5, seed=8, bfloat16=bfloat16)
    inputs = (logits, deltas, anchors, torch.ones(16), torch.full((16, 2), 128.0))
    expected = detect_objects(*inputs)
    found = Detections(*(part.cpu() for part in detect_objects(*(part.cuda() for part in inputs))))
    for b in range(16):
        check_equal(rows_of(found, b), rows_of(expected, b))


def test_five_thousand_of_a_class_enter() -> None:
    """One class: its best 5000 lie on one box, the rest apart. Another: a few apart, with lower scores."""
    anchors = make_anchors(256, num_scales=2, base_anchor=3.0)
    num_anchors = len(anchors)
    assert num_anchors == 8184
    target = torch.tensor([100.0, 100.0, 140.0, 140.0]).expand(num_anchors, 4)
    apart = torch.arange(num_anchors)[:, None] % 60 * 4.0 + torch.tensor([0.0, 0.0, 3.0, 3.0])
    is_best = torch.arange(num_anchors) < MAX_CANDIDATES
    deltas = encode_boxes(torch.where(is_best[:, None], target, apart), anchors)[None]
    logits = torch.full((1, num_anchors, 2), -20.0)
    logits[0, :, 0] = torch.linspace(3.0, 1.0, num_anchors)
    logits[0, -7:, 1] = 0.5
    found = detect_objects(logits, deltas, anchors, torch.ones(1), torch.full((1, 2), 256.0))
    assert found.labels[0, : int((found.scores > 0).sum())].tolist() == [0] + [1] * 7
    logits[0, MAX_CANDIDATES - 1, 0] = -20.0  # now one of the rest is among the 5000
    found = detect_objects(logits, deltas, anchors, torch.ones(1), torch.full((1, 2), 256.0))
    assert found.labels[0, : int((found.scores > 0).sum())].tolist() == [0, 0] + [1] * 7


def test_the_threshold_itself_is_not_over_it() -> None:
    threshold = torch.tensor(SCORE_THRESHOLD)
    logits = torch.linspace(-2.9445, -2.9443, 20001)
    at = logits[(logits.sigmoid() == threshold).nonzero()[0]]
    over = logits[(logits.sigmoid() > threshold).nonzero()[0]]
    cls_logits = torch.cat((at, over)).view(1, 2, 1)
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    found = detect_objects(cls_logits, torch.zeros(1, 2, 4), anchors, torch.ones(1), torch.full((1, 2), 64.0))
    assert [box for _, _, box in rows_of(found, 0)] == [(50.0, 50.0, 60.0, 60.0)]


def test_a_hundred_per_image_over_all_classes() -> None:
    """150 boxes apart in each of three classes: the best hundred of all, in order."""
    grid = torch.arange(150)
    low = torch.stack((grid % 15, grid // 15), dim=1) * 8.0
    anchors = torch.cat((low, low + 6), dim=1)
    logits = torch.linspace(4.0, -1.0, 450).view(3, 150).T[None]  # class by class
    found = detect_objects(logits, torch.zeros(1, 150, 4), anchors, torch.ones(1), torch.full((1, 2), 128.0))
    assert found.scores.shape == (1, MAX_DETECTIONS)
    assert found.labels[0].tolist() == [0] * 100
    assert [box for _, _, box in rows_of(found, 0)] == [tuple(box) for box in anchors[:100].tolist()]
