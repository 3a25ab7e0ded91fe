import torch

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.training.targets.coverage import AnchorSetting, measure_coverage, unseen_outputs
from spinesearch.training.targets.matching import match_anchors

SETTING = AnchorSetting(image_size=128, num_scales=1, base_anchor=3.0)


def square(center: float, side: float) -> torch.Tensor:
    return torch.tensor([[center - side / 2, center - side / 2, center + side / 2, center + side / 2]])


def test_an_object_of_an_anchors_size_is_its_outputs() -> None:
    """The square anchor of P4 around (56, 56) has the side 48: one object of it, on an image of the size."""
    found = measure_coverage([(square(56, 48), (128, 128))], SETTING)
    assert (found.num_images, found.num_objects, found.forced) == (1, 1, 0)
    by_level = {level.level: level for level in found.levels}
    assert by_level[4].covered == 1
    assert by_level[4].positives == 1
    assert by_level[4].forced == 0
    assert [by_level[k].covered for k in (3, 5, 6, 7)] == [0, 0, 0, 0]  # 24 in 48, 48 in 96: IoU 1/4
    # 48 px are less than a cell of P6 (64 px) and of P7.
    assert [level.below_cell for level in found.levels] == [0, 0, 0, 1, 1]
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    rows = match_anchors(anchors, square(56, 48)[None], torch.zeros(1, 1, dtype=torch.int64))
    assert by_level[4].positives_per_image == int((rows == 0).sum())


def test_images_are_scaled_to_the_setting() -> None:
    """The same object on an image of twice the size."""
    once = measure_coverage([(square(56, 48), (128, 100))], SETTING)
    twice = measure_coverage([(square(112, 96), (256, 200))], SETTING)
    assert once == twice


def test_what_no_anchor_covers_is_matched_by_force_where_it_overlaps_most() -> None:
    found = measure_coverage([(square(60, 5), (128, 128)), (square(64, 128), (128, 128))], SETTING)
    by_level = {level.level: level for level in found.levels}
    assert by_level[3].forced == 0.5  # 25 of 24 x 24 pixels
    assert found.forced in (0.5, 1.0)
    assert sum(level.positives for level in found.levels) == 1
    assert found.num_objects == 2


def test_images_without_objects_count_as_images() -> None:
    empty = (torch.zeros(0, 4), (64, 64))
    assert measure_coverage([empty, empty], SETTING).num_images == 2
    assert measure_coverage([], SETTING).num_objects == 0
    both = measure_coverage([empty, (square(56, 48), (128, 128))], SETTING)
    assert both.levels[1].positives_per_image * 2 == int(both.levels[1].positives_per_image * 2) > 0


def test_outputs_that_see_less_than_a_share_of_the_target() -> None:
    objects = [(square(56, 48), (128, 128)), (square(60, 20), (128, 128))]
    here = measure_coverage(objects, SETTING)
    target = measure_coverage(objects, AnchorSetting(image_size=512, num_scales=3, base_anchor=3.0))
    unseen = unseen_outputs(here, target, least=0.05)
    # At four times the size the objects are two levels higher: 192 px are P6's, 80 px P4's and P5's.
    assert 6 in unseen
    assert 3 not in unseen
    assert unseen_outputs(here, here, least=0.05) == []


def test_an_output_without_objects_at_the_target_is_not_missed() -> None:
    small = [(square(56, 24), (128, 128))] * 400
    with_a_large_one = [*small, (square(64, 100), (128, 128))]
    target_setting = AnchorSetting(image_size=128, num_scales=3, base_anchor=0.75)
    here = measure_coverage(small, SETTING)
    target = measure_coverage(with_a_large_one, target_setting)
    assert 0 < target.levels[4].positives < 0.005
    assert here.levels[4].positives == 0
    assert 7 not in unseen_outputs(here, target, least=0.05)
