"""The proxy task with Mask R-CNN: a function of its seed, with AP of masks, on data with masks alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import TINY
from tiny_task import TINY_TASK

from spinesearch.data.open import GeneratedDataSettings, open_data
from spinesearch.models.cost import count_parameters
from spinesearch.proxy_task.model import build_model
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask

MASKS = replace(TINY_TASK, detector="mask_rcnn", rois_per_image=16, bn_eps=1e-3, batch_size=2)


@pytest.mark.slow
def test_score(tmp_path: Path):
    drawn = GeneratedDataSettings(num_images=12, num_val_images=0, cache_dir=str(tmp_path))
    plain = open_data(drawn, image_size=128)
    with pytest.raises(ValueError, match=r"proxy_task.detector: mask_rcnn needs masks, which these data"):
        ProxyTask(MASKS, plain)
    task = ProxyTask(MASKS, open_data(drawn, image_size=128, masks=True))
    rng = torch.get_rng_state()
    result = task.score(TINY, 0)
    assert torch.equal(torch.get_rng_state(), rng)
    assert result.mask_ap is not None
    assert result.to_dict()["mask_ap"] == result.mask_ap
    assert task.score(TINY, 0) == result
    assert task.score(TINY, 1).loss != result.loss
    with torch.device("meta"):
        model = build_model(TINY, MASKS, num_classes=5)
    assert result.num_parameters == count_parameters(model)


def test_settings():
    with pytest.raises(
        ValueError, match=r"proxy_task.detector: must be one of retinanet, mask_rcnn, got 'yolo'"
    ):
        ProxySettings(num_steps=1, detector="yolo")
    with pytest.raises(
        ValueError, match=r"proxy_task.rois_per_image: must be an integer of at least 4, got 3"
    ):
        ProxySettings(num_steps=1, rois_per_image=3)
    assert ProxySettings(num_steps=1).detector == "retinanet"
