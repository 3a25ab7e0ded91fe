import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.boxes import encode_boxes, pairwise_iou
from spinesearch.models.heads.detect import (
    MAX_DETECTIONS,
    NMS_IOU,
    SCORE_THRESHOLD,
    detect_objects,
    non_maximum_suppression,
)


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, max_detections: int) -> list[list[int]]:
    """Rows kept in each image, by the textbook: one class after the other, then the best over all classes."""
    overlaps = pairwise_iou(boxes, boxes).tolist()
    kept_of_images = []
    for iou, score, label in zip(overlaps, scores.tolist(), labels.tolist(), strict=True):
        kept = []
        for k in sorted(set(label)):
            queue = [i for i in range(len(score)) if label[i] == k and score[i] > 0]
            queue.sort(key=lambda i: -score[i])
            while queue:
                best, *rest = queue
                kept.append(best)
                queue = [i for i in rest if iou[best][i] <= NMS_IOU]
        kept.sort(key=lambda i: -score[i])
        kept_of_images.append(kept[:max_detections])
    return kept_of_images


def random_candidates(num_images: int, *, clusters: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """30 boxes an image about so many places, two classes, all scores different, some not positive."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(num_images, clusters, 2, generator=generator) * 100
    place = torch.randint(clusters, (num_images, 30, 1), generator=generator).expand(-1, -1, 2)
    center = centers.gather(1, place) + 3 * torch.randn(num_images, 30, 2, generator=generator)
    half = 5 + 10 * torch.rand(num_images, 30, 2, generator=generator)
    order = torch.rand(num_images, 30, generator=generator).argsort(dim=1)
    labels = torch.randint(2, (num_images, 30), generator=generator)
    return torch.cat((center - half, center + half), dim=-1), (order - 3) / 30, labels


@pytest.mark.parametrize("clusters", [1, 3, 10, 30])
@pytest.mark.parametrize("max_detections", [4, 100])
def test_equals_plain_greedy_suppression_per_class(clusters: int, max_detections: int) -> None:
    boxes, scores, labels = random_candidates(500, clusters=clusters, seed=clusters)
    rows = non_maximum_suppression(boxes, scores, labels, max_detections=max_detections)
    kept = [[row for row in image if row >= 0] for image in rows.tolist()]
    assert kept == greedy(boxes, scores, labels, max_detections)
    assert all(sorted(row < 0 for row in image) == [row < 0 for row in image] for image in rows.tolist())


def test_batched_equals_single() -> None:
    boxes, scores, labels = random_candidates(50, clusters=3, seed=0)
    rows = non_maximum_suppression(boxes, scores, labels)
    for b in range(50):
        single = non_maximum_suppression(boxes[b : b + 1], scores[b : b + 1], labels[b : b + 1])[0]
        assert torch.equal(rows[b, : len(single)], single)
        assert (rows[b, len(single) :] == -1).all()


def test_boxes_without_area_and_no_candidates() -> None:
    flat = torch.tensor([[[5.0, 5.0, 5.0, 9.0]] * 2])
    assert non_maximum_suppression(flat, torch.tensor([[0.5, 0.6]]), torch.zeros(1, 2)).tolist() == [[1, 0]]
    assert non_maximum_suppression(flat, torch.zeros(1, 2), torch.zeros(1, 2)).shape == (1, 0)
    assert non_maximum_suppression(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0)).shape == (2, 0)


def head_output(objects: list[list[tuple[int, int, float, list[float]]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, codes, anchors: of each image these (anchor, class, score, box in pixels), nothing else."""
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    logits = torch.full((len(objects), len(anchors), 3), -20.0)
    deltas = torch.zeros(len(objects), len(anchors), 4)
    for b, image in enumerate(objects):
        for a, k, score, box in image:
            logits[b, a, k] = torch.tensor(score).logit()
            deltas[b, a] = encode_boxes(torch.tensor(box), anchors[a])
    return logits, deltas, anchors


def test_decodes_maps_back_and_clips() -> None:
    logits, deltas, anchors = head_output(
        [
            [(100, 2, 0.9, [10.0, 20.0, 30.0, 50.0]), (500, 0, 0.4, [100.0, 60.0, 140.0, 90.0])],
            [(7, 1, 0.06, [0.0, 0.0, 16.0, 8.0])],
        ]
    )
    scales, sizes = torch.tensor([0.5, 0.25]), torch.tensor([[256.0, 192.0], [512.0, 512.0]])
    found = detect_objects(logits, deltas, anchors, scales, sizes)
    assert found.labels[0].tolist() == [2, 0]
    assert_close(found.scores, torch.tensor([[0.9, 0.4], [0.06, 0.0]]))
    first = [[20.0, 40.0, 60.0, 100.0], [200.0, 120.0, 256.0, 180.0]]  # over the right edge: clipped
    assert_close(found.boxes[0], torch.tensor(first), rtol=1e-5, atol=1e-3)
    assert_close(found.boxes[1, 0], torch.tensor([0.0, 0.0, 64.0, 32.0]), rtol=1e-5, atol=1e-3)
    assert found.labels[1, 0] == 1


def test_threshold_is_strict_and_nothing_is_fine() -> None:
    logits, deltas, anchors = head_output([[(0, 0, SCORE_THRESHOLD - 1e-4, [0.0, 0.0, 9.0, 9.0])], []])
    found = detect_objects(logits, deltas, anchors, torch.ones(2), torch.full((2, 2), 128.0))
    assert found.scores.shape == (2, 0)
    assert found.boxes.shape == (2, 0, 4)


def test_at_most_a_hundred_and_batched_equals_single() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    logits = torch.randn(4, len(anchors), 3, generator=generator) - 1.0
    logits[3] -= 5.0  # far fewer candidates than in the others
    deltas = 0.1 * torch.randn(4, len(anchors), 4, generator=generator)
    scales, sizes = torch.tensor([1.0, 0.5, 0.25, 1.0]), torch.tensor([[128.0, 96.0]] * 4)
    found = detect_objects(logits, deltas, anchors, scales, sizes)
    assert found.scores.shape == (4, MAX_DETECTIONS)
    assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()
    for b in range(4):
        only = slice(b, b + 1)
        single = detect_objects(logits[only], deltas[only], anchors, scales[only], sizes[only])
        count = single.scores.shape[1]
        assert torch.equal(found.scores[b, :count], single.scores[0])
        assert torch.equal(found.boxes[b, :count], single.boxes[0])
        assert torch.equal(found.labels[b, :count], single.labels[0])
        assert (found.scores[b, count:] == 0).all()
