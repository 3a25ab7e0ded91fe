"""``spinesearch evaluate``: the numbers are pycocotools', the classes are matched by name."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from cli_checks import fails
from picture_sets import picture, save_set

from spinesearch.cli.main import main
from spinesearch.training.measure.evaluate import SUMMARY_NAMES
from spinesearch.training.measure.evaluation import match_classes


def data_words(cache_dir: Path) -> list[str]:
    return [f"data.cache_dir={cache_dir}", "data.num_images=8", "data.num_val_images=4"]


@pytest.fixture
def lively(trained, tmp_path) -> Path:
    """The trained weights with a bias that finds something everywhere, so that there is what to count."""
    import torch

    from spinesearch import load_detector, save_weights

    detector = load_detector(trained / "weights" / "last.safetensors")
    with torch.no_grad():
        detector.head.cls_net.predict.bias.fill_(-1.0)
        detector.head.cls_net.predict.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    save_weights(detector, tmp_path / "lively.safetensors")
    return tmp_path / "lively.safetensors"


def test_the_numbers_and_those_of_the_written_detections_are_pycocotools(lively, tmp_path, cache_dir, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    output = tmp_path / "detections.json"
    words = [str(lively), "--json", "--output", str(output), *data_words(cache_dir)]
    assert main(["evaluate", *words]) == 0
    printed = json.loads(capsys.readouterr().out)
    annotations = next(cache_dir.glob("generated/*-8-4*/annotations/instances_val.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(output)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    for name, value in zip(SUMMARY_NAMES, evaluation.stats, strict=True):
        assert printed[name] == (None if value < 0 else pytest.approx(value, abs=1e-12)), name
    precision = evaluation.eval["precision"]
    for label, category in enumerate(truth.loadCats(truth.getCatIds())):
        values = precision[:, :, label, 0, 2]
        expected = None if (values <= -1).all() else pytest.approx(values[values > -1].mean(), abs=1e-12)
        assert printed["class_aps"][category["name"]] == expected
    assert json.loads(output.read_text())
    assert main(["evaluate", str(lively), *data_words(cache_dir)]) == 0
    assert "AP by class" in capsys.readouterr().out


def test_classes_are_matched_by_name_and_the_rest_is_listed():
    match = match_classes([(1, "dog"), (7, "cat"), (9, "cow")], ("cat", "horse", "dog"), 3)
    assert match.labels == (1, -1, 0)
    assert match.missing == ("cow",)
    assert match.extra == ("horse",)
    assert "do not know 1 classes of the data set" in match.lines[0]
    assert "horse" in match.lines[1]


def test_imported_weights_of_91_classes_have_cocos_ids():
    match = match_classes([(1, "person"), (90, "toothbrush")], (), 91)
    assert (match.labels[1], match.labels[90], match.labels[2]) == (0, 1, -1)


def test_weights_without_a_class_in_common_are_refused():
    with pytest.raises(ValueError, match=r"WEIGHTS: no class of the data set \(dog"):
        match_classes([(1, "dog")], ("cat",), 1)
    with pytest.raises(ValueError, match=r"WEIGHTS: their 4 classes have no names"):
        match_classes([(1, "dog")], (), 4)


def test_a_data_set_of_other_classes_is_refused_before_it_is_packed(trained, tmp_path, capsys):
    save_set(tmp_path, [("a.png", picture(0))], categories=({"id": 1, "name": "dog"},))
    words = [
        "data=coco",
        f"data.val_images={tmp_path / 'images'}",
        f"data.val_annotations={tmp_path / 'instances.json'}",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]
    weights = str(trained / "weights" / "last.safetensors")
    fails(["evaluate", weights, *words], r"WEIGHTS: no class of the data set \(dog ...\) is among", capsys)
    assert not list((tmp_path / "cache" / "packs").glob("[!.]*")), "something was packed"


def test_what_cannot_be_evaluated_is_refused_in_a_line(trained, tmp_path, cache_dir, capsys):
    weights = str(trained / "weights" / "last.safetensors")
    fails(["evaluate", str(tmp_path / "none.safetensors")], r"there is no such file", capsys)
    fails(["evaluate", str(tmp_path)], r"WEIGHTS: .* is a folder without weights/best.safetensors", capsys)
    output = ["--output", str(tmp_path / "nodir" / "x.json")]
    fails(["evaluate", "unread.safetensors", *output], r"--output: .*nodir/x.json: there is no", capsys)
    fails(["evaluate", weights, "train.lr=1"], r"train.lr=1: settings of the data alone", capsys)
    fails(["evaluate", weights, "data=coco"], r"data.val_annotations: must be given", capsys)
    fails(["evaluate", weights, "--image-size", "100"], r"--image-size: must be a positive multiple", capsys)
    fails(["evaluate", weights, "--image-size", "1280000"], r"--image-size: .* of 128 up to 8192", capsys)
