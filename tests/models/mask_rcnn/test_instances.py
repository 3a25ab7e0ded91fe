"""Masks over boxes as pixels of an image."""

import numpy as np

from spinesearch.models.heads.paste import paste_mask


def test_a_full_mask_covers_the_pixels_whose_centres_are_in_its_box():
    full = np.ones((28, 28), np.float32)
    pasted = paste_mask(full, np.array([2.0, 3.0, 10.0, 8.0], np.float32), 20, 15)
    expected = np.zeros((15, 20), np.bool_)
    expected[3:8, 2:10] = True
    assert np.array_equal(pasted, expected)
    for empty in ([5, 5, 5, 9], [7, 5, 5, 9], [20, 0, 25, 9]):
        assert not paste_mask(full, np.array(empty, np.float32), 20, 15).any()


def test_between_cells_it_is_interpolated():
    # Two cells a side: one half lies where the line between their centres reaches it, at half of the box.
    mask = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    pasted = paste_mask(mask, np.array([0, 0, 8, 8], np.float32), 8, 8)
    assert pasted[:, :4].all()
    assert not pasted[:, 4:].any()
    halves = paste_mask(np.full((2, 2), 0.5, np.float32), np.array([0, 0, 8, 8], np.float32), 8, 8)
    assert halves.all()  # one half counts as covered
