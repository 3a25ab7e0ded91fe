"""Plain modules are the networks of `spinesearch.models`: outputs, parameters, and detections."""

import pytest
import torch
from exported_networks import NETWORKS, assert_same_found, build
from long_suite import few
from torch import nn

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.detect import MAX_DETECTIONS, NMS_IOU, SCORE_THRESHOLD, detect_objects
from spinesearch.models.mask_rcnn import proposals
from spinesearch.models.mask_rcnn.detector import BOX_WEIGHTS, MAX_CANDIDATES
from spinesearch.results.export.plain import boxes as plain
from spinesearch.results.export.plain import mask_rcnn
from spinesearch.results.export.plain_twin import outputs_of, plain_twin
from spinesearch.results.export.program import settled_suppression
from spinesearch.space.cost.mask_rcnn import BOX_SIDE, MASK_SIDE, NUM_REGIONS

SHORT = ["tiny v2 swish", "mobile v2", "narrow resnet", "attention", "classifier", "mask_rcnn"]


@pytest.mark.parametrize("name", few(NETWORKS, SHORT))
@torch.no_grad()
def test_outputs_are_equal(name: str) -> None:
    """In float64: the same sums in another order. Sides of no power of two pool and resize in other ways."""
    module = build(name)
    twin = plain_twin(module)
    module.double()
    twin.double()
    for size in ((33, 47), (97, 128), (128, 256)):
        images = torch.rand(2, 3, *size, dtype=torch.float64)
        for got, want in zip(outputs_of(twin, images), outputs_of(module, images), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * float(want.abs().max()))


def test_weights_are_a_copy() -> None:
    module = build("backbone")
    twin = plain_twin(module)
    assert {n: p.shape for n, p in twin.named_parameters()} == {
        n: p.shape for n, p in module.named_parameters()
    }
    before = next(module.parameters()).clone()
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert torch.equal(next(module.parameters()), before)


def test_the_plain_form_trains() -> None:
    twin = plain_twin(build("tiny")).train()
    logits, deltas = twin(torch.rand(2, 3, 256, 256))
    (logits.square().mean() + deltas.square().mean()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in twin.parameters())


@pytest.mark.parametrize("name", few(["tiny", "spinenet49", "mobile", "resnet"], ["tiny"]))
@torch.no_grad()
def test_detections_are_those_of_the_evaluation(name: str) -> None:
    module = build(name)
    twin = plain_twin(module)
    side = 96
    images = torch.rand(3, 3, side, side)
    got = twin.detect(images)
    assert got.shape == (3, MAX_DETECTIONS, 6)
    logits, deltas = twin(images)
    anchors = make_anchors(side, num_scales=3, base_anchor=3.0)
    want = detect_objects(logits, deltas, anchors, torch.ones(3), torch.full((3, 2), float(side)))
    num_found = int((want.scores > 0).sum())
    assert num_found > 30
    count = want.scores.shape[1]
    torch.testing.assert_close(got[:, :count, 4], want.scores, rtol=0, atol=1e-6)
    is_found = want.scores > 0
    assert_same_found(got, want.boxes, want.scores, want.labels, score=1e-6, box=1e-3)
    assert not got[:, :count][~is_found].any()
    assert not got[:, count:].any()


@torch.no_grad()
def test_instances_are_those_of_the_evaluation() -> None:
    """Boxes, classes and masks of a Mask R-CNN, where the picture fills the square."""
    module = build("mask_rcnn")
    side, count = 64, 2
    images = torch.rand(count, 3, side, side)
    got, masks = plain_twin(module).detect(images)
    assert (got.shape, masks.shape) == ((count, MAX_DETECTIONS, 6), (count, MAX_DETECTIONS, 28, 28))
    anchors = make_anchors(side, num_scales=1, base_anchor=3.0)
    sizes = torch.full((count, 2), float(side))
    want, want_masks = module.instances(images, sizes, anchors, torch.ones(count), sizes, "float32")
    is_found = want.scores > 0
    assert int(is_found.sum()) > 30
    torch.testing.assert_close(got[..., 4], want.scores, rtol=0, atol=1e-6)
    torch.testing.assert_close(got[..., :4], want.boxes, rtol=0, atol=1e-3)
    assert torch.equal(got[..., 5].long(), want.labels)
    num_masks = want_masks.shape[1]
    is_mask = is_found[:, :num_masks]
    torch.testing.assert_close(masks[:, :num_masks][is_mask], want_masks[is_mask], rtol=0, atol=1e-5)
    assert not got[~is_found].any()
    assert not masks[~is_found].any()


def test_anchors_and_limits_are_those_of_the_evaluation() -> None:
    ours = make_anchors(100, num_scales=2, base_anchor=4.0)
    assert torch.equal(plain.make_anchors(100, 100, 2, 4.0), ours)
    limits = (plain.SCORE_THRESHOLD, plain.NMS_IOU, plain.MAX_DETECTIONS)
    assert limits == (SCORE_THRESHOLD, NMS_IOU, MAX_DETECTIONS)
    assert (mask_rcnn.BOX_SIDE, mask_rcnn.MASK_SIDE, mask_rcnn.NUM_REGIONS) == (
        BOX_SIDE,
        MASK_SIDE,
        NUM_REGIONS,
    )
    assert (mask_rcnn.BOX_WEIGHTS, mask_rcnn.REGION_CANDIDATES) == (BOX_WEIGHTS, MAX_CANDIDATES)
    assert mask_rcnn.PROPOSAL_CANDIDATES == proposals.TESTING_CANDIDATES
    assert mask_rcnn.PROPOSAL_NMS_IOU == proposals.PROPOSAL_NMS_IOU


def test_suppression_by_hand() -> None:
    """Boxes 0 and 1 overlap by 0.6, 0 and 2 by 0.5; 3 is of another class; 4 scores too little."""
    boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 5], [0, 0, 10, 10], [50, 50, 60, 60]]])
    scores = torch.zeros(1, 2, 5)
    scores[0, 0] = torch.tensor([0.9, 0.8, 0.7, 0.0, 0.05])
    scores[0, 1, 3] = 0.6
    kept = plain.suppress(boxes.float(), scores, SCORE_THRESHOLD, NMS_IOU, MAX_DETECTIONS)
    assert kept[0, 0].tolist() == pytest.approx([0.9, 0.0, 0.7, 0.0, 0.0])
    assert kept[0, 1].tolist() == pytest.approx([0.0, 0.0, 0.0, 0.6, 0.0])
    found = plain.best_detections(boxes.float(), kept)
    assert found.shape == (1, 100, 6)
    assert found[0, :3, 4].tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert found[0, :3, 5].tolist() == [0, 0, 1]
    assert not found[0, 3:].any()


@pytest.mark.slow  # outside a program the loop is compiled
def test_suppression_that_settles_is_the_greedy_one() -> None:
    """On crowded boxes of two classes, with equal scores, empty boxes, and images without candidates."""
    generator = torch.Generator().manual_seed(0)
    corners = 40 * torch.rand(4, 200, 2, generator=generator)
    boxes = torch.cat((corners, corners + 30 * torch.rand(4, 200, 2, generator=generator)), dim=-1)
    boxes[:, :5, 2:] = boxes[:, :5, :2]
    best = torch.rand(4, 200, generator=generator)
    best = torch.where(torch.arange(200) % 3 == 0, (best * 8).round() / 8, best)
    best[3] = 0.0
    of_second = torch.rand(4, 200, generator=generator) < 0.5
    scores = torch.stack((torch.where(of_second, 0.0, best), torch.where(of_second, best, 0.0)), dim=1)
    for threshold, max_iou in ((0.05, 0.5), (0.0, 0.7), (0.3, 0.1)):
        want = plain.suppress(boxes, scores, threshold, max_iou, 200)
        got = settled_suppression(boxes, scores, threshold, max_iou, 200)
        assert torch.equal(got, want)
        assert 0 < int((want > 0).sum()) < int((scores > threshold).sum())


def test_what_cannot_be_exported_is_one_line() -> None:
    module = build("backbone")
    with pytest.raises(ValueError, match="module: needs to be in evaluation mode, in float32, on the CPU"):
        plain_twin(module.train())
    module = build("backbone")
    part = next(m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    part.eps = 0.5
    with pytest.raises(ValueError, match="module: its plain form gives other outputs"):
        plain_twin(module)
