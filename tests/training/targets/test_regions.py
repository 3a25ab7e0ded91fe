"""Mask R-CNN's targets and losses: values worked out by hand, shares of the samples, finite differences."""

import math

import pytest
import torch
from torch import Tensor

from spinesearch.models.mask_rcnn.proposals import Proposed, Regions, propose_regions
from spinesearch.training.targets.matching import BACKGROUND
from spinesearch.training.targets.region_losses import mask_loss, proposal_loss, region_loss
from spinesearch.training.targets.regions import (
    IGNORED,
    AnchorTargets,
    RegionTargets,
    anchor_targets,
    mask_targets,
    region_targets,
)

NO_BOXES, NO_LABELS = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)


def squares(*places: tuple[float, float, float]) -> Tensor:
    """Boxes [1, n, 4] of (x, y, side)."""
    return torch.tensor([[[x, y, x + side, y + side] for x, y, side in places]], dtype=torch.float32)


# Regions that are proposed ----------


def test_each_level_suppresses_by_itself():
    # Two levels of one cell with two anchors each. Anchors 0 and 1 overlap by 0.81, so do 2 and 3.
    anchors = squares((0, 0, 10), (0, 0, 9), (0, 0, 10), (0, 0, 9))[0]
    scores = torch.tensor([[0.1, 0.3, 0.2, -0.1]])
    features = {3: torch.zeros(1, 1, 1, 1), 4: torch.zeros(1, 1, 1, 1)}
    proposed = Proposed(scores, torch.zeros(1, 4, 4), features)
    content = torch.tensor([[8.0, 64.0]])
    regions = propose_regions(proposed, anchors, content, is_training=True)
    # The best of either level, clipped to the image, by falling score.
    assert regions.boxes[0][regions.is_real[0]].tolist() == [[0, 0, 8, 9], [0, 0, 8, 10]]


def test_regions_without_area_are_none():
    anchors = squares((20, 20, 10), (0, 0, 10))[0]
    proposed = Proposed(torch.zeros(1, 2), torch.zeros(1, 2, 4), {3: torch.zeros(1, 1, 1, 2)})
    regions = propose_regions(proposed, anchors, torch.tensor([[15.0, 15.0]]), is_training=False)
    assert regions.boxes[0][regions.is_real[0]].tolist() == [[0, 0, 10, 10]]


# What is sampled ----------


def test_anchors_between_the_thresholds_do_not_count():
    # IoU with the object at (0, 0, 100): 1, .81, .64, .25, 0.
    anchors = squares((0, 0, 100), (0, 0, 90), (0, 0, 80), (0, 0, 50), (300, 300, 10))[0]
    targets = anchor_targets(anchors, squares((0, 0, 100)), torch.zeros(1, 1, dtype=torch.int64))
    assert targets.is_matched.tolist() == [[True, True, False, False, False]]
    kept = {int(i): float(o) for i, o, c in zip(*(t[0] for t in targets[:3]), strict=True) if c}
    assert kept == {0: 1.0, 1: 1.0, 3: 0.0, 4: 0.0}
    side = math.log(100 / 90)
    torch.testing.assert_close(targets.codes[0, 1], torch.tensor([5 / 90, 5 / 90, side, side]))


def test_an_object_that_no_anchor_covers_has_its_best():
    anchors = squares((0, 0, 100), (300, 300, 10))[0]
    targets = anchor_targets(anchors, squares((0, 0, 40)), torch.zeros(1, 1, dtype=torch.int64))
    assert targets.is_matched.tolist() == [[True, False]]


def test_half_of_the_sampled_anchors_are_foreground_where_there_are_as_many():
    anchors = squares(*[(0, 0, 100)] * 400, *[(500, 500, 10)] * 400)[0]
    boxes, labels = squares((0, 0, 100)), torch.zeros(1, 1, dtype=torch.int64)
    targets = anchor_targets(anchors, boxes, labels)
    assert targets.counts.sum() == 256
    assert targets.is_object.sum() == 128
    other = anchor_targets(anchors, boxes, labels)
    assert not torch.equal(targets.sampled, other.sampled)  # drawn, and each anchor at most once
    assert len(targets.sampled[0].unique()) == 256
    none = anchor_targets(anchors, NO_BOXES, NO_LABELS)
    assert none.is_object.sum() == 0
    assert none.counts.sum() == 256


def regions_of(*places: tuple[float, float, float]) -> Regions:
    boxes = squares(*places)
    return Regions(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool))


def test_regions_are_sampled_with_the_objects_among_them():
    boxes, labels = squares((0, 0, 100), (7, 7, 7)), torch.tensor([[4, BACKGROUND]])
    regions = regions_of(*[(0, 0, 80)] * 30, *[(0, 0, 60)] * 30)  # IoU .64 and .36
    targets = region_targets(regions, boxes, labels, num_samples=16)
    assert targets.num_foreground == 4
    assert targets.labels.tolist() == [[4] * 4 + [BACKGROUND] * 12]
    assert targets.rows[0, :4].tolist() == [0] * 4
    for box, code in zip(targets.boxes[0, :4], targets.codes[0, :4], strict=True):
        side = float(box[2])
        expected = [10 * (50 - side / 2) / side] * 2 + [5 * math.log(100 / side)] * 2
        torch.testing.assert_close(code, torch.tensor(expected))
    few = region_targets(regions_of((0, 0, 60)), boxes, labels, num_samples=16)
    assert few.labels.tolist() == [[4, BACKGROUND, IGNORED]]
    assert torch.isfinite(few.codes).all()
    none = region_targets(regions_of((0, 0, 60)), NO_BOXES, NO_LABELS, num_samples=16)
    assert none.labels.tolist() == [[BACKGROUND]]


# Masks ----------


def test_a_region_sees_its_part_of_the_mask():
    mask = torch.zeros(1, 1, 56, 56, dtype=torch.uint8)
    mask[..., :28] = 1  # the left half
    boxes, rows = squares((100, 100, 56)), torch.zeros(1, 1, dtype=torch.int64)
    left = torch.zeros(28, 28)
    left[:, :14] = 1

    def seen(region: Tensor, where: Tensor = boxes) -> Tensor:
        return mask_targets(mask, where, region, rows)[0, 0]

    assert torch.equal(seen(boxes), left)
    assert torch.equal(seen(squares((100, 100, 28))), torch.ones(28, 28))
    assert torch.equal(seen(squares((128, 110, 20))), torch.zeros(28, 28))
    # Half beyond the object's left edge: only the right half of the region is in the mask.
    assert torch.equal(seen(squares((86, 110, 28))), left.flip(1))
    # Mirrored: the mask's left edge lies right of its right edge.
    assert torch.equal(seen(boxes, boxes[..., [2, 1, 0, 3]]), left.flip(1))
    assert torch.equal(seen(boxes, torch.zeros(1, 1, 4)), torch.zeros(28, 28))  # a padded row


# Losses ----------


def test_proposal_loss_by_hand():
    counts = torch.tensor([[True, True, False]])
    targets = AnchorTargets(
        sampled=torch.tensor([[0, 2, 1]]),
        is_object=torch.tensor([[1.0, 0.0, 0.0]]),
        counts=counts,
        is_matched=torch.tensor([[True, False, True]]),
        codes=torch.zeros(1, 3, 4),
    )
    scores = torch.tensor([[2.0, 50.0, -1.0]])
    deltas = torch.tensor([[[0.1, 0, 0, 0], [9, 9, 9, 9], [1.0, 0, 0, 0]]])
    score = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 256
    # Levels of one and of two anchors: square below 1/9, straight above; means of 4 coordinates, summed.
    box = 0.1**2 / 2 / 4 + (1 / 9) * (1.0 - 1 / 18) / 4
    assert float(proposal_loss(scores, deltas, targets, [1, 2])) == pytest.approx(score + box, rel=1e-6)


def made_targets(labels: list[int], codes: Tensor) -> RegionTargets:
    kinds = torch.tensor([labels])
    return RegionTargets(torch.zeros(1, len(labels), 4), kinds, torch.zeros_like(kinds), codes, 1)


def test_region_loss_by_hand():
    logits = torch.tensor([[[0.0, 2, 1], [3, 0, 0], [9, -9, 9]]])
    deltas = torch.zeros(1, 3, 3, 4)
    deltas[0, 0, 2] = torch.tensor([0.5, 2.0, 0, 0])  # of class 1, the true one
    deltas[0, 0, 1] = 77.0  # of another class
    targets = made_targets([1, BACKGROUND, IGNORED], torch.zeros(1, 3, 4))
    first = math.log(1 + math.exp(2) + math.exp(1)) - 1
    second = math.log(math.exp(3) + 2) - 3
    box = (0.5**2 / 2 + (2.0 - 0.5)) / 4
    expected = (first + second) / 2 + box
    assert float(region_loss(logits, deltas, targets)) == pytest.approx(expected, rel=1e-6)


def test_mask_loss_by_hand():
    logits, seen = torch.full((1, 2, 28, 28), 1.0), torch.zeros(1, 2, 28, 28)
    seen[..., :14] = 1
    present, absent = math.log1p(math.exp(-1)), math.log1p(math.exp(1))
    has_object = torch.tensor([[True, False]])
    assert float(mask_loss(logits, seen, has_object)) == pytest.approx((present + absent) / 2, rel=1e-6)
    assert float(mask_loss(logits, seen, torch.zeros(1, 2, dtype=torch.bool))) == 0.0


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    anchors = squares((0, 0, 100), (0, 0, 90), (200, 200, 40), (0, 0, 50))[0]
    boxes, labels = squares((0, 0, 97), (201, 201, 40)), torch.tensor([[0, 1]])
    targets = anchor_targets(anchors, boxes, labels)
    scores = torch.randn(1, 4, requires_grad=True)
    deltas = torch.randn(1, 4, 4, requires_grad=True)
    sampled = made_targets([1, 0, BACKGROUND], torch.randn(1, 3, 4))
    logits = torch.randn(1, 3, 3, requires_grad=True)
    codes = torch.randn(1, 3, 3, 4, requires_grad=True)
    for loss, inputs in (
        (lambda a, b: proposal_loss(a, b, targets, [2, 2]), (scores, deltas)),
        (lambda a, b: region_loss(a, b, sampled), (logits, codes)),
    ):
        for value in inputs:
            # The losses are float32, whatever comes in, so the steps are wide.
            loss(*inputs).backward()
            flat, step = value.detach().view(-1), 1e-2
            for i in range(0, len(flat), 3):
                old = float(flat[i])
                with torch.no_grad():
                    flat[i] = old + step
                    above = float(loss(*inputs))
                    flat[i] = old - step
                    below = float(loss(*inputs))
                    flat[i] = old
                assert float(value.grad.view(-1)[i]) == pytest.approx((above - below) / 2 / step, abs=2e-3)
            for leaf in inputs:
                leaf.grad = None
