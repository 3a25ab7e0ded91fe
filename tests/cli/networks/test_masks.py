"""Mask R-CNN through the commands, and eight photographs that it learns by heart."""

import importlib.util
import json
import runpy
from pathlib import Path

import pytest
import torch
from cli_checks import fails
from exported_networks import assert_same_found
from pycocotools import mask as coco_mask

from spinesearch import load_detector
from spinesearch.cli.main import main
from spinesearch.data.open import CocoDataSettings, open_data
from spinesearch.models.heads.anchors import make_anchors
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.space import SPINENET_49, load_spec

_ALIKE = {"score": 1e-5, "box": 1e-2, "most_alone": 4}  # of 100 in an image
COCO = Path(__file__).parents[4] / "shared/data/coco_tiny100"
TINY = [
    "train.detector=mask_rcnn",
    "train.image_size=128",
    "train.filter_size_scale=0.0625",
    "train.resample_alpha=0.5",
    "train.endpoints_num_filters=8",
    "train.head_num_convs=1",
    "train.head_num_filters=8",
    "train.rois_per_image=16",
    "train.num_scales=1",
    "train.num_threads=1",
    "train.num_epochs=1",
    "train.warmup_epochs=0",
    "train.batch_size=4",
    "train.average_decay=null",
    "data.num_images=8",
    "data.num_val_images=3",
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_evaluate_predict_export(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = f"data.cache_dir={tmp_path}/cache"
    assert main(["train", "spinenet49", "name=masks", *TINY, cache]) == 0
    weights = "runs/masks/weights/best.safetensors"
    measured = json.loads(Path("runs/masks/weights/last.json").read_text())["training"]
    assert measured["mask_scores"].keys() == measured["scores"].keys()
    assert "| masks: AP |" in next(Path("runs/masks/weights").glob("*.md")).read_text()
    capsys.readouterr()
    drawn = ["data.num_images=8", "data.num_val_images=3", cache]
    assert main(["evaluate", weights, "--json", "-o", "found.json", *drawn]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["masks"].keys() == {"class_aps", *measured["scores"]}
    for row in json.loads(Path("found.json").read_text()):
        assert coco_mask.toBbox(row["segmentation"]).shape == (4,)
    images = next(Path("cache/generated").glob("*/val"))
    assert main(["predict", weights, str(images), "-o", "seen", "--threshold", "0.05"]) == 0
    for picture in json.loads(Path("seen/predictions.json").read_text()):
        for detection in picture["detections"]:
            assert detection["mask"]["size"] == [picture["height"], picture["width"]]
    exports(weights, capsys)
    # What decides the result is refused on resume.
    fails(
        ["train", "spinenet49", "name=masks", *TINY[1:], cache],
        "detector",
        capsys,
    )


@torch.no_grad()
def exports(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every form of a Mask R-CNN that was trained finds what the network does."""
    network = load_detector(weights)
    images = torch.rand(2, 3, 128, 128)
    capsys.readouterr()
    written = {
        "python": "net.py",
        "torch": "net.pt2",
        "onnx": "net.onnx",
        "json": "net.json",
        "tf": "net_b.py",
    }
    if any(importlib.util.find_spec(name) is None for name in ("onnxscript", "onnxruntime")):
        del written["onnx"]  # of the extra of this name
    for form, path in written.items():
        assert main(["export", weights, "--format", form, "-o", path]) == 0
        out = capsys.readouterr().out
        assert ("Mask R-CNN" in out) == (form != "tf")
    detections, masks = runpy.run_path("net.py")["load"]("net.pt").detect(images)
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    sizes = torch.full((2, 2), 128.0)
    found, _ = network.instances(images, sizes, anchors, torch.ones(2), sizes, "float32")
    assert_same_found(detections, found.boxes, found.scores, found.labels, **_ALIKE)
    program, program_masks = torch.export.load("net.pt2").module()(images)
    assert_same_found(program, detections[..., :4], detections[..., 4], detections[..., 5], **_ALIKE)
    is_same = (program - detections).abs().amax(dim=2) <= 1e-2
    assert is_same.float().mean() > 0.9
    torch.testing.assert_close(program_masks[is_same], masks[is_same], rtol=0, atol=1e-2)
    if "onnx" in written:
        import onnxruntime

        session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
        shapes = [part.shape for part in session.run(None, {"images": images.numpy()})]
        assert shapes == [(2, 100, 6), (2, 100, 28, 28)]
        names = session.get_modelmeta().custom_metadata_map["class_names"]
        assert tuple(json.loads(names)) == network.inference.class_names
    assert load_spec("net.json") == network.backbone.spec
    assert main(["export", weights, "--format", "python", "--backbone-only", "-o", "net.py"]) == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not COCO.is_dir(), reason="shared/data/coco_tiny100 is not there: photographs with masks")
def test_eight_photographs_are_learnt_by_heart(tmp_path: Path):
    (annotations,) = COCO.glob("annotations/*train*.json")
    document = json.loads(annotations.read_text())
    objects: dict[int, list[dict[str, object]]] = {}
    for row in document["annotations"]:
        objects.setdefault(row["image_id"], []).append(row)
    # Photographs without crowds and without objects that a few pixels at 128 px stand for.
    usable = [
        image
        for image in document["images"]
        if (rows := objects.get(image["id"])) and all(not r["iscrowd"] and r["area"] > 2000 for r in rows)
    ]
    chosen = sorted(usable, key=lambda image: len(objects[image["id"]]))[:8]
    rows = [row for image in chosen for row in objects[image["id"]]]
    kinds = {row["category_id"] for row in rows}
    categories = [row for row in document["categories"] if row["id"] in kinds]
    path = tmp_path / "eight.json"
    path.write_text(json.dumps({"images": chosen, "annotations": rows, "categories": categories}))
    data = open_data(
        CocoDataSettings(
            name="eight",
            train_images=str(COCO / "train2017"),
            train_annotations=str(path),
            score_annotations=str(path),
            cache_dir=str(tmp_path / "cache"),
        ),
        image_size=128,
        masks=True,
        warn=lambda line: None,
    )
    settings = ProxySettings(
        detector="mask_rcnn",
        rois_per_image=64,
        head_num_convs=2,
        num_scales=1,
        num_steps=100,
        batch_size=8,
        optimizer="muon",
        lr=0.05,
        adam_lr=3e-3,
        momentum=0.8,
        weight_decay=0.0,
        warmup_steps=10,
        flip=False,
        bn_momentum=0.05,
        bn_eps=1e-3,
        bn_recalibration_batches=4,
        device="cpu",
    )
    result = ProxyTask(settings, data).score(SPINENET_49, 0)
    assert result.ap is not None
    assert result.ap > 0.8
    assert result.mask_ap is not None
    assert result.mask_ap > 0.8
