from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.boxes import decode_boxes, encode_boxes, pairwise_iou
from spinesearch.training.targets import matching
from spinesearch.training.targets.matching import (
    BACKGROUND,
    MATCH_IOU,
    make_targets,
    match_anchors,
    match_objects,
)


@pytest.fixture(autouse=True, params=[matching._ROWS_AT_ONCE, 2, 1])
def rows_at_once(request, monkeypatch) -> None:
    """However few boxes are looked at together, the matches are the same."""
    monkeypatch.setattr(matching, "_ROWS_AT_ONCE", request.param)


def random_truth(batch: int, rows: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes [B, M, 4] inside 128 px and labels [B, M], with 0..M objects per image before the padding."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(batch, rows, 2, generator=generator) * 100
    sides = 2 + torch.rand(batch, rows, 2, generator=generator) ** 2 * 60
    boxes = torch.cat((low, (low + sides).clamp(max=128)), dim=-1)
    labels = torch.randint(5, (batch, rows), generator=generator)
    counts = torch.randint(rows + 1, (batch, 1), generator=generator)
    is_padding = torch.arange(rows) >= counts
    return boxes.masked_fill(is_padding.unsqueeze(-1), 0.0), labels.masked_fill(is_padding, BACKGROUND)


def match_one_by_one(anchors: Tensor, boxes: Tensor, labels: Tensor) -> list[int]:
    """The same by the definition, for one image."""
    iou = pairwise_iou(boxes, anchors)
    real = [r for r in range(len(labels)) if labels[r] != BACKGROUND]
    rows = []
    for a in range(len(anchors)):
        best = max(real, key=lambda r: (float(iou[r, a]), -r), default=None)
        rows.append(best if best is not None and iou[best, a] >= MATCH_IOU else BACKGROUND)
    for r in reversed(real):  # the first row writes last
        rows[int(iou[r].argmax())] = r
    return rows


def test_equals_the_definition() -> None:
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    boxes, labels = random_truth(12, 9, seed=0)
    rows = match_anchors(anchors, boxes, labels)
    assert rows.tolist() == [match_one_by_one(anchors, b, t) for b, t in zip(boxes, labels, strict=True)]


def test_ties_typed_by_hand() -> None:
    """Anchors 10 px wide beside each other, the last one a copy of the first."""
    lefts = (0.0, 10.0, 20.0, 0.0)
    anchors = torch.tensor([[left, 0.0, left + 10.0, 10.0] for left in lefts])

    def rows_of(*boxes: list[float]) -> list[int]:
        labels = torch.zeros(1, len(boxes), dtype=torch.long)
        return match_anchors(anchors, torch.tensor([boxes]), labels)[0].tolist()

    # As much over the second as over the third, and little: the first of the two is forced, and no other.
    assert rows_of([15.0, 0.0, 25.0, 10.0]) == [-1, 0, -1, -1]
    # Anchors 0 and 3 are equal: one would be forced, and both pass the threshold.
    assert rows_of([0.0, 0.0, 10.0, 6.0]) == [0, -1, -1, 0]
    assert rows_of([0.0, 0.0, 10.0, 4.0]) == [0, -1, -1, -1]
    # Exactly one half is a match.
    assert rows_of([0.0, 0.0, 10.0, 5.0]) == [0, -1, -1, 0]
    # Two equal boxes: the first row has all.
    assert rows_of([10.0, 0.0, 20.0, 9.0], [10.0, 0.0, 20.0, 9.0]) == [-1, 0, -1, -1]
    # A forced match goes before a better one of another row: anchor 1 is the best of both boxes.
    assert rows_of([10.0, 0.0, 13.0, 3.0], [10.0, 0.0, 20.0, 10.0]) == [-1, 0, -1, -1]
    # Anchor 0 is forced by the first row; its copy, which is not, goes with the box that covers it better.
    assert rows_of([0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 2.0, 10.0]) == [0, -1, -1, 0]
    assert rows_of([0.0, 0.0, 2.0, 10.0], [0.0, 0.0, 10.0, 9.0]) == [0, -1, -1, 1]


def test_equals_the_definition_with_exact_overlaps() -> None:
    """Boxes and anchors on a coarse grid, where ties are many, and fractions that do not round."""
    rng = np.random.default_rng(0)
    num_ties = 0
    for _ in range(40):
        low = rng.integers(0, 6, (25 + 10 * 6, 2))
        corners = np.concatenate((low, low + rng.integers(1, 5, low.shape)), axis=1).tolist()
        anchors, truth = corners[:25], np.array(corners[25:]).reshape(10, 6, 4)
        labels = np.where(rng.random((10, 6)) < 0.8, 0, BACKGROUND)
        rows = match_anchors(
            torch.tensor(anchors, dtype=torch.float32),
            torch.tensor(truth, dtype=torch.float32),
            torch.tensor(labels),
        )
        for b in range(10):
            real = [r for r in range(6) if labels[b, r] != BACKGROUND]
            iou = {r: [exact_iou(truth[b, r].tolist(), anchor) for anchor in anchors] for r in real}
            expected = []
            for a in range(25):
                best = max(real, key=lambda r: (iou[r][a], -r), default=None)
                expected.append(best if best is not None and iou[best][a] >= Fraction(1, 2) else BACKGROUND)
            for r in reversed(real):
                top = max(iou[r])
                if top > 0:
                    expected[iou[r].index(top)] = r  # the first of equals
                    num_ties += iou[r].count(top) > 1
            assert rows[b].tolist() == expected
    assert num_ties > 100


def exact_iou(a: list[int], b: list[int]) -> Fraction:
    both = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return Fraction(both, (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_every_object_gets_an_anchor_however_small() -> None:
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    boxes = torch.tensor([[[60.0, 60.0, 62.0, 62.0], [1.0, 1.0, 4.0, 120.0]]])
    labels = torch.tensor([[0, 1]])
    iou = pairwise_iou(boxes[0], anchors)
    assert (iou.max(dim=1).values < MATCH_IOU).all()  # the threshold alone would leave both unlearnt
    rows = match_anchors(anchors, boxes, labels)[0]
    for r in range(2):
        assert (rows == r).sum() == 1
        assert rows[iou[r].argmax()] == r


def test_of_two_claims_on_an_anchor_the_first_row_has_it() -> None:
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    boxes = torch.tensor([[[0.0, 0.0, 3.0, 3.0], [0.0, 0.0, 9.0, 9.0]]])
    assert match_anchors(anchors, boxes, torch.tensor([[0, 0]])).tolist() == [[0, BACKGROUND]]


def test_padded_rows_do_not_matter() -> None:
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    boxes, labels = random_truth(6, 7, seed=1)
    noise = torch.tensor([0.0, 0.0, 128.0, 128.0]).expand(6, 4, 4)  # whatever stands in them
    padded = torch.cat((boxes, noise), dim=1)
    padded_labels = torch.cat((labels, torch.full((6, 4), BACKGROUND)), dim=1)
    for got, want in zip(
        make_targets(anchors, padded, padded_labels), make_targets(anchors, boxes, labels), strict=True
    ):
        assert torch.equal(got, want)


def test_no_objects() -> None:
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    for rows in (0, 3):
        boxes, labels = torch.zeros(2, rows, 4), torch.full((2, rows), BACKGROUND)
        classes, codes = make_targets(anchors, boxes, labels)
        assert (classes == BACKGROUND).all()
        assert classes.dtype == torch.int64
        assert codes.shape == (2, len(anchors), 4)
        assert (codes == 0).all()


@pytest.mark.parametrize("pairs_at_once", [matching._PAIRS_AT_ONCE, 5000, 1])
def test_the_objects_alone_are_matched_alike(pairs_at_once: int, monkeypatch) -> None:
    """Crowded, empty and gappy images, boxes beside no anchor, and a grid on which ties are many."""
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", pairs_at_once)
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    generator = torch.Generator().manual_seed(3)
    for seed in range(12):
        boxes, labels = random_truth(6, 9, seed=seed)
        if seed % 2:
            boxes = (boxes / 16).round() * 16
        labels[torch.rand(6, 9, generator=generator) < 0.3] = BACKGROUND
        labels[0] = BACKGROUND
        boxes[1, 0] += 1000
        boxes[labels == BACKGROUND] = float("nan")
        rows = match_objects(anchors, boxes, labels)
        assert torch.equal(rows, match_anchors(anchors, boxes, labels))
        assert rows.dtype == torch.int64
    for none in (torch.zeros(2, 0, dtype=torch.int64), torch.full((2, 3), BACKGROUND)):
        assert (match_objects(anchors, torch.zeros(*none.shape, 4), none) == BACKGROUND).all()


def test_targets_say_class_and_code_of_the_matched_box() -> None:
    anchors = make_anchors(128, num_scales=3, base_anchor=3.0)
    boxes, labels = random_truth(8, 9, seed=2)
    rows = match_anchors(anchors, boxes, labels)
    classes, codes = make_targets(anchors, boxes, labels)
    assert torch.isfinite(codes).all()
    b, a = (rows != BACKGROUND).nonzero(as_tuple=True)
    assert len(b) > 100
    assert torch.equal(classes[b, a], labels[b, rows[b, a]])
    assert_close(codes[b, a], encode_boxes(boxes[b, rows[b, a]], anchors[a]))
    assert_close(decode_boxes(codes[b, a], anchors[a]), boxes[b, rows[b, a]], rtol=1e-5, atol=1e-3)
    assert (classes[rows == BACKGROUND] == BACKGROUND).all()
    assert (codes[rows == BACKGROUND] == 0).all()
