"""Data that another process has opened, opened by a worker: from its cache alone where they are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from spinesearch.data.classes.as_coco import as_coco
from spinesearch.data.data_settings import ClassDataSettings, DataSettings, GeneratedDataSettings
from spinesearch.data.errors import DataError
from spinesearch.data.open import open_data
from spinesearch.data.pack.pack import packs_in
from spinesearch.data.pack.pack_masks import pack_masks
from spinesearch.data.proxy_data import ProxyData, with_held_out_images, with_masks, with_score_set
from spinesearch.data.sources import cache_dir, score_source, train_source
from spinesearch.data.split.groups import groups_beside

_log = logging.getLogger(__name__)


def reopen_data(settings: DataSettings, *, image_size: int, key: str, masks: bool = False) -> ProxyData:
    """The data that another process has opened with these settings, as a worker of a search does.

    Where the packs are in this machine's cache, they are all that is read: neither the annotations nor the
    images need be here. Elsewhere the data are opened as by `open_data`.

    Args:
        settings: which data.
        image_size: S, pixels.
        key: of the other process's data.
        masks: as for `open_data`.

    Raises:
        DataError: the data cannot be opened here, or they are not the other process's.

    What the same settings draw counts as the same, though another processor's last bits may differ.
    """
    for data in _in_cache(settings, image_size, masks=masks):
        if data.key == key:
            return data
    # The other process has warned of what is odd about the data.
    data = open_data(settings, image_size=image_size, masks=masks, warn=lambda line: None, report=_log.info)
    if isinstance(settings, GeneratedDataSettings):
        return data.with_key(key)
    if data.key != key:
        raise DataError(
            f"data: this machine's copy (key {data.key}) is not the one the search uses (key {key}); "
            "copy the same images and annotations here"
        )
    return data


def _in_cache(settings: DataSettings, image_size: int, *, masks: bool) -> Iterator[ProxyData]:
    """All data that packs of this machine's cache make, whatever the packs are of, with their keys."""
    if isinstance(settings, ClassDataSettings):
        settings = as_coco(settings)
    source, apart = train_source(settings, image_size), score_source(settings, image_size)
    for pack in packs_in(cache_dir(settings), source):
        if apart is None:
            for groups in groups_beside(pack):
                data = with_held_out_images(settings, image_size, pack, groups)
                yield with_masks(data, pack_masks(pack, source)) if masks else data
        else:
            for score in packs_in(cache_dir(settings), apart):
                data = with_score_set(settings, image_size, pack, score)
                if masks:
                    data = with_masks(data, pack_masks(pack, source), pack_masks(score, apart))
                yield data
