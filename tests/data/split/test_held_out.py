"""Which images are held out: by their ids where they are on their own, whole groups together."""

from __future__ import annotations

import numpy as np
import pytest

from spinesearch.data.split.held_out import held_out_mask, in_group_of_several

# Typed out: these must never change, or a resumed search trains on what it was scored on.
HELD_OUT_FIFTH = {
    1: False,
    2: True,
    3: False,
    5: False,
    9: False,
    25: False,
    34: True,
    139: True,
    391895: True,
    2**40: False,
}


def test_held_out_images_are_the_same_in_every_release() -> None:
    ids = list(HELD_OUT_FIFTH)
    assert held_out_mask(ids, 0.2).tolist() == list(HELD_OUT_FIFTH.values())


def test_held_out_is_decided_by_the_id_alone() -> None:
    ids = np.random.default_rng(0).permutation(10_000)
    mask = dict(zip(ids.tolist(), held_out_mask(ids, 0.2).tolist(), strict=True))
    some = sorted(ids[:100].tolist())
    assert held_out_mask(some, 0.2).tolist() == [mask[i] for i in some]


@pytest.mark.parametrize("share", [0.0625, 0.2, 0.5, 0.9])
def test_held_out_share_is_met_and_larger_shares_contain_smaller_ones(share: float) -> None:
    mask = held_out_mask(range(10_000), share)
    assert mask.dtype == np.bool_
    assert abs(mask.mean() - share) < 4 * np.sqrt(share * (1 - share) / 10_000)
    assert mask[held_out_mask(range(10_000), share / 2)].all()


def numbers(*texts: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(texts, np.uint64)


def test_groups_of_one_image_are_decided_by_the_id_alone() -> None:
    ids = list(range(1, 1001))
    assert (held_out_mask(ids, 0.2, numbers(*range(1, 1001))) == held_out_mask(ids, 0.2)).all()
    groups = numbers(*(7 if i < 10 else i for i in ids))
    alone = groups != 7
    assert (held_out_mask(ids, 0.2, groups) == held_out_mask(ids, 0.2))[alone].all()


def test_every_group_is_on_one_side_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(2, 300))
        ids = rng.permutation(10 * count)[:count]
        groups = rng.integers(0, count // 2 + 1, count).astype(np.uint64) * np.uint64(2**57 + 1)
        mask = held_out_mask(ids.tolist(), 0.3, groups)
        for group in set(groups.tolist()) - {0}:
            assert len(set(mask[groups == group].tolist())) == 1
        order = rng.permutation(count)
        assert (held_out_mask(ids[order].tolist(), 0.3, groups[order]) == mask[order]).all()


@pytest.mark.parametrize("share", [0.0625, 0.2, 0.5])
def test_the_share_of_grouped_images_is_met_to_half_a_group(share: float) -> None:
    groups = np.repeat(np.random.default_rng(1).integers(1, 2**63, 110).astype(np.uint64), 3)
    mask = held_out_mask(range(330), share, groups)
    assert abs(mask.sum() - share * 330) <= 1.5


@pytest.mark.parametrize("sizes", [(90, 10), (10, 90), (2, 2, 2), (5, 500, 5)])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.99])
def test_few_large_groups_leave_none_of_the_sides_empty(sizes: tuple[int, ...], share: float) -> None:
    groups = np.repeat(np.arange(1, len(sizes) + 1, dtype=np.uint64), sizes)
    mask = held_out_mask(range(len(groups)), share, groups)
    assert 0 < mask.sum() < len(mask)


def test_images_on_their_own_need_no_group_held_out() -> None:
    """Two groups of 1,000 among 10,000 others: a hundredth of them is nearer to none than to one."""
    groups = numbers(*([1] * 1000 + [2] * 1000 + [0] * 10_000))
    mask = held_out_mask(range(12_000), 0.01, groups)
    assert not mask[:2000].any()
    assert mask[2000:].any()


def test_zero_is_no_group() -> None:
    assert in_group_of_several(numbers(0, 5, 0, 6, 5)).tolist() == [False, True, False, False, True]
