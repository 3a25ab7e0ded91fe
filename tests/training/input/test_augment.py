import torch
from torch import Tensor
from torch.testing import assert_close

from spinesearch.models.heads.normalize import IMAGENET_MEAN, IMAGENET_STD
from spinesearch.training.input.augment import (
    Batch,
    Placement,
    draw,
    normalize,
    place,
    placement_of,
)

SIDE = 128


def rectangles(num_images: int, *, seed: int, content: Tensor) -> Batch:
    """Black images, already "normalised", with one bright rectangle each, at whole pixels of the content."""
    generator = torch.Generator().manual_seed(seed)
    low = (torch.rand(num_images, 2, generator=generator) * (content - 40)).round()
    high = (low + 20 + torch.rand(num_images, 2, generator=generator) * 20).round()
    boxes = torch.cat((low, high), dim=-1).unsqueeze(1)
    images = torch.zeros(num_images, 3, SIDE, SIDE)
    for image, (x1, y1, x2, y2) in zip(images, boxes[:, 0].int().tolist(), strict=True):
        image[:, y1:y2, x1:x2] = 1.0
    return Batch(images, content, boxes, torch.zeros(num_images, 1, dtype=torch.int64))


def bright_box(image: Tensor) -> list[float]:
    """The edges of what is at least half bright, as the box around it."""
    rows = (image[0] >= 0.5).any(dim=1).nonzero()
    columns = (image[0] >= 0.5).any(dim=0).nonzero()
    return [float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1]


def test_normalises_and_leaves_padding_at_zero() -> None:
    images = torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)
    images[0, :64, :128] = torch.tensor([10, 100, 255], dtype=torch.uint8)
    content = torch.tensor([[128.0, 64.0], [77.0, 128.0]])
    batch = Batch(images.permute(0, 3, 1, 2), content, torch.zeros(2, 0, 4), torch.zeros(2, 0))
    out = normalize(batch).images
    pixel = [(v / 255 - m) / s for v, m, s in zip((10, 100, 255), IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    assert_close(out[0, :, 63, 127], torch.tensor(pixel))
    assert (out[0, :, 64:] == 0).all()
    assert (out[1, :, :, 77:] == 0).all()
    black = [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    assert_close(out[1, :, 127, 76], torch.tensor(black))  # a black pixel of the image is not padding


def test_nothing_to_do_changes_nothing() -> None:
    batch = rectangles(4, seed=0, content=torch.full((4, 2), 128.0))
    same = place(batch, Placement(torch.zeros(4, dtype=torch.bool), torch.ones(4), torch.zeros(4, 2)))
    assert_close(same.images, batch.images, rtol=0, atol=1e-4)
    assert torch.equal(same.boxes, batch.boxes)
    assert torch.equal(same.labels, batch.labels)


def test_only_a_box_that_is_cut_is_dropped_for_its_size() -> None:
    """One half a pixel wide, and one that the right edge cuts to half a pixel."""
    boxes = torch.tensor([[[20.0, 30.0, 20.5, 60.0], [100.0, 0.0, 128.0, 20.0]]])
    labels = torch.tensor([[0, 1]])
    content = torch.full((1, 2), 128.0)
    batch = Batch(torch.zeros(1, 3, SIDE, SIDE), content, boxes, labels)
    for is_flipped, scale in ((False, 1.0), (True, 1.0), (False, 0.5)):
        still = Placement(torch.tensor([is_flipped]), torch.tensor([scale]), torch.zeros(1, 2))
        assert place(batch, still).labels.tolist() == [[0, 1]]
    cut = Placement(torch.tensor([False]), torch.tensor([1.275]), torch.zeros(1, 2))  # 100 to 127.5
    assert place(batch, cut).labels.tolist() == [[0, -1]]


def test_mirrors_about_the_middle_of_the_content() -> None:
    content = torch.tensor([[128.0, 90.0], [77.0, 128.0]])
    batch = rectangles(2, seed=1, content=content)
    flipped = place(batch, Placement(torch.ones(2, dtype=torch.bool), torch.ones(2), torch.zeros(2, 2)))
    for b, width in enumerate((128, 77)):
        x1, y1, x2, y2 = batch.boxes[b, 0].tolist()
        assert flipped.boxes[b, 0].tolist() == [width - x2, y1, width - x1, y2]
        assert_close(
            flipped.images[b, :, :, :width], batch.images[b, :, :, :width].flip(-1), rtol=0, atol=1e-4
        )
        assert (flipped.images[b, :, :, width:] == 0).all()
    twice = place(flipped, Placement(torch.ones(2, dtype=torch.bool), torch.ones(2), torch.zeros(2, 2)))
    assert_close(twice.images, batch.images, rtol=0, atol=1e-3)
    assert torch.equal(twice.boxes, batch.boxes)


def test_boxes_stay_on_their_objects() -> None:
    generator = torch.Generator().manual_seed(2)
    content = torch.tensor([[128.0, 96.0], [80.0, 128.0]]).repeat(100, 1)
    batch = rectangles(200, seed=3, content=content)
    placement = placement_of(draw(200, generator), content, SIDE, flip=True, scale_jitter=(0.5, 2.0))
    out = place(batch, placement)
    kept = 0
    for image, box, label in zip(out.images, out.boxes[:, 0], out.labels[:, 0], strict=True):
        if label < 0 or (box[2:] - box[:2]).min() < 3:
            continue
        kept += 1
        # The edge of a bilinear zoom by at most 2 lies within a pixel of the true edge.
        assert_close(torch.tensor(bright_box(image)), box, rtol=0, atol=1.0)
    assert 120 < kept < 200


def test_boxes_cut_away_become_padding_and_the_rest_is_clipped() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 30.0, 30.0], [50.0, 50.0, 100.0, 90.0], [64.2, 70.0, 99.0, 99.0]]])
    labels = torch.tensor([[4, 5, 6]])
    batch = Batch(torch.zeros(1, 3, SIDE, SIDE), torch.tensor([[128.0, 128.0]]), boxes, labels)
    offset = torch.tensor([[0.0, 128.0]])  # twice the size, the lower left quarter
    out = place(batch, Placement(torch.tensor([False]), torch.tensor([2.0]), offset))
    assert out.labels.tolist() == [[-1, 5, -1]]  # above the crop; clipped; right of it
    assert out.boxes[0, 1].tolist() == [100.0, 0.0, 128.0, 52.0]
    assert out.content.tolist() == [[128.0, 128.0]]


def test_placements_cover_their_ranges_and_keep_the_crop_inside() -> None:
    content = torch.tensor([[128.0, 64.0]]).repeat(4000, 1)
    generator = torch.Generator().manual_seed(4)
    is_flipped, scale, offset = placement_of(
        draw(4000, generator), content, SIDE, flip=True, scale_jitter=(0.5, 2.0)
    )
    assert 1800 < is_flipped.sum() < 2200  # 6 standard deviations
    assert 0.5 <= scale.min() < 0.51
    assert 1.99 < scale.max() <= 2.0
    excess = (content * scale[:, None] - SIDE).clamp(min=0)
    assert (offset >= 0).all()
    assert (offset <= excess).all()
    assert (offset[:, 1] == 0).all()  # 64 px high: never more than the square
    assert offset[:, 0].max() > 100


def test_mirror_scale_and_both_sides_of_the_crop_are_drawn_apart() -> None:
    content = torch.full((4000, 2), 128.0)
    generator = torch.Generator().manual_seed(5)
    is_flipped, scale, offset = placement_of(
        draw(4000, generator), content, SIDE, flip=True, scale_jitter=(1.5, 2.0)
    )
    crop = offset / (content * scale[:, None] - SIDE)  # shares of what exceeds the square, in 0..1
    drawn = torch.stack((is_flipped.float(), scale, *crop.T))
    correlations = torch.corrcoef(drawn) - torch.eye(4)
    assert correlations.abs().max() < 6 / 4000**0.5  # 6 standard deviations
    assert crop.min() < 0.01
    assert crop.max() > 0.99


def test_nothing_is_moved_where_nothing_is_turned_on() -> None:
    content = torch.full((8, 2), 128.0)
    draws = draw(8, torch.Generator().manual_seed(5))
    still = placement_of(draws, content, SIDE, flip=False, scale_jitter=(1.0, 1.0))
    assert not still.is_flipped.any()
    assert (still.scale == 1).all()
    assert (still.offset == 0).all()


def test_images_that_are_packed_larger_are_shrunk_into_the_square():
    """The same placement from twice the pixels puts boxes and pixels at the same places."""
    content = torch.tensor([[128.0, 96.0], [100.0, 128.0]])
    batch = rectangles(2, seed=5, content=content)
    large = Batch(
        batch.images.repeat_interleave(2, 2).repeat_interleave(2, 3),
        2 * content,
        2 * batch.boxes,
        batch.labels,
    )
    draws = torch.tensor([[0.1, 0.9], [0.7, 0.2], [0.3, 0.5], [0.6, 0.4]])
    plain = placement_of(draws, content, SIDE, flip=True, scale_jitter=(0.8, 1.5))
    shrunk = placement_of(draws, 2 * content, SIDE, flip=True, scale_jitter=(0.8, 1.5), shrink=0.5)
    expected, found = place(batch, plain), place(large, shrunk, SIDE)
    assert found.images.shape == expected.images.shape
    assert_close(found.boxes, expected.boxes)
    assert_close(found.content, expected.content)
    assert torch.equal(found.labels, expected.labels)
    assert (found.images - expected.images).abs().mean() < 0.01
