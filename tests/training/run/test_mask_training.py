"""A long training of a Mask R-CNN: resumed equal to undisturbed; its weights, and what they predict."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from tiny_models import NARROW, TINY
from tiny_training import NUM_IMAGES, Notes, settings

from spinesearch.data.open import GeneratedDataSettings, ProxyData, open_training_data
from spinesearch.models.heads.inference import Inference
from spinesearch.models.heads.predict import Prediction, predict_images
from spinesearch.models.mask_rcnn.detector import MaskRCNN, build_mask_rcnn
from spinesearch.models.weights.files import load_detector, save_weights
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.run.long_training import LongTraining, Stopped
from spinesearch.training.run.train_checkpoint import TrainCheckpoints

SETTINGS = settings(detector="mask_rcnn", rois_per_image=16, bn_eps=1e-3, bn_momentum=0.1)


def model() -> MaskRCNN:
    torch.manual_seed(0)
    return build_mask_rcnn(
        TINY,
        num_classes=5,
        head_num_convs=1,
        head_num_filters=8,
        stochastic_depth_rate=0.2,
        bn_momentum=0.1,
        **NARROW,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ProxyData:
    drawn = GeneratedDataSettings(
        num_images=NUM_IMAGES, num_val_images=4, cache_dir=str(tmp_path_factory.mktemp("masks"))
    )
    return open_training_data(drawn, pack_size=153, image_size=128, masks=True)


def trained(data: ProxyData, folder: Path, stop_at: int | None = None) -> MaskRCNN:
    """After a whole training, or one that was stopped after some steps and resumed by a new process."""
    while True:
        network, notes = model(), Notes()
        training = LongTraining(
            network,
            data,
            SETTINGS,
            seed=0,
            checkpoints=TrainCheckpoints(folder, {"model": "tiny"}),
            group=ProcessGroup(),
            should_stop=lambda notes=notes, limit=stop_at: len(notes.losses) == limit,
        )
        try:
            training.run(notes)
        except Stopped:
            stop_at = None
            continue
        assert notes.measurements[-1].scores.masks is not None
        return network


@pytest.mark.slow
def test_resumed_equals_undisturbed_and_its_weights_predict(data: ProxyData, tmp_path: Path):
    (tmp_path / "whole").mkdir()
    whole = trained(data, tmp_path / "whole")
    (tmp_path / "resumed").mkdir()
    resumed = trained(data, tmp_path / "resumed", stop_at=4)
    state = resumed.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())

    whole.inference = Inference(image_size=128, num_scales=1, class_names=("a", "b", "c", "d", "e"))
    save_weights(whole, tmp_path / "masks.safetensors")
    loaded = load_detector(tmp_path / "masks.safetensors")
    assert isinstance(loaded, MaskRCNN)
    assert loaded.inference == whole.inference
    # The same picture stored turned by each orientation has the same objects, in its own pixels.
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (60, 100, 3), np.uint8))
    (plain,) = predict_images(loaded, [picture], whole.inference, threshold=0.05)
    assert isinstance(plain, Prediction)
    assert plain.masks is not None
    for code in plain.masks:
        height, width = coco_mask.toBbox({"size": [60, 100], "counts": code})[3:1:-1]
        assert width <= 100
        assert height <= 60
