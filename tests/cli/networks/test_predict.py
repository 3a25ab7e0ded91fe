"""``spinesearch predict`` and ``load_detector(path).predict``: the same boxes, in the pixels of each file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_checks import fails
from PIL import Image, ImageOps
from tiny_models import tiny_detector

from spinesearch import load_detector, save_weights
from spinesearch.cli.main import main
from spinesearch.data.upright import stored_boxes, upright
from spinesearch.models.heads.inference import Inference
from spinesearch.results.drawing.detections import draw_detections

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A detector that finds something in every picture."""
    detector = tiny_detector(num_anchors=3)
    with torch.no_grad():
        detector.head.cls_net.predict.bias.fill_(-0.3)
        detector.head.cls_net.predict.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    detector.inference = Inference(image_size=128, num_scales=1, class_names=("a", "b", "c"))
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(detector, path)
    return path


def picture(seed: int, width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


def test_the_command_and_python_find_the_same(weights, tmp_path, capsys):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    picture(0, 300, 200).save(folder / "a.png")
    picture(1, 90, 150).save(folder / "b.jpg")
    picture(1, 90, 150).save(folder / "sub" / "b.jpg")
    output = tmp_path / "out"
    given = [str(folder), str(folder / "sub" / "b.jpg")]
    options = ["--threshold", "0.3", "--top-k", "5"]
    assert main(["predict", str(weights), *given, "--output", str(output), *options]) == 0
    records = json.loads((output / "predictions.json").read_text())
    assert [record["picture"] for record in records] == ["a.jpg", "b.jpg", "b_2.jpg"]
    found = load_detector(weights).predict([record["file"] for record in records], threshold=0.3, top_k=5)
    for record, prediction in zip(records, found, strict=True):
        rows = record["detections"]
        assert len(rows) <= 5
        assert [row["box"] for row in rows] == prediction.boxes.tolist()
        assert [row["score"] for row in rows] == prediction.scores.tolist()
        assert [row["name"] for row in rows] == list(prediction.names)
        assert all(row["score"] >= 0.3 for row in rows)
        assert (prediction.boxes >= 0).all()
        assert (prediction.boxes <= np.array([record["width"], record["height"]] * 2)).all()
        with Image.open(output / record["picture"]) as drawn:
            assert drawn.size == (record["width"], record["height"])
    assert sum(len(record["detections"]) for record in records) > 5
    assert records[1]["detections"] == records[2]["detections"]


def test_files_images_and_arrays_are_alike(weights, tmp_path):
    image = picture(2, 200, 100)
    image.save(tmp_path / "a.png")
    detector = load_detector(weights)
    one, two, three = detector.predict([tmp_path / "a.png", image, np.asarray(image)])
    for other in (two, three):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_seen_upright_and_its_boxes_are_where_the_file_has_them(
    orientation, weights, tmp_path
):
    stored = Image.new("RGB", (40, 30))
    stored.putpixel((7, 4), (255, 0, 0))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        turned, found = upright(opened)
        assert found == orientation
        y, x = np.argwhere(np.asarray(turned)[..., 0] == 255)[0].tolist()
    box = np.array([[x, y, x + 1, y + 1]], np.float32)
    assert stored_boxes(box, orientation, 40, 30).tolist() == [[7, 4, 8, 5]]
    # What is found in the turned file is what is found in the picture that a viewer shows.
    photo = picture(3, 200, 120)
    photo.save(tmp_path / "b.png", exif=exif)
    detector = load_detector(weights)
    with Image.open(tmp_path / "b.png") as opened:
        shown = ImageOps.exif_transpose(opened).convert("RGB")
    of_file, of_view = detector.predict([tmp_path / "b.png", shown])
    assert np.array_equal(of_file.scores, of_view.scores)
    back = stored_boxes(of_view.boxes, orientation, 200, 120)
    assert np.array_equal(of_file.boxes, back)
    assert (of_file.width, of_file.height) == (200, 120)


def test_a_box_is_drawn_where_it_is():
    drawn = draw_detections(Image.new("RGB", (100, 80)), [(10, 20, 60, 70)], [0], ["a 0.50"])
    pixels = np.asarray(drawn)
    assert pixels[70, 30].tolist() == [0xE6, 0x9F, 0x00]
    assert pixels[45, 60].tolist() == [0xE6, 0x9F, 0x00]
    assert pixels[45, 35].tolist() == [0, 0, 0]


def test_weights_that_know_no_size_need_one(tmp_path):
    detector = tiny_detector(num_anchors=3)
    with pytest.raises(ValueError, match=r"inference: these weights do not say how large"):
        detector.predict([np.zeros((9, 9, 3), np.uint8)])
    detector.predict([np.zeros((9, 9, 3), np.uint8)], inference=Inference(image_size=128, num_scales=1))


def test_a_description_whose_classes_do_not_fit_the_head_is_refused(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.read_bytes())
    described = json.loads(weights.with_suffix(".json").read_text())
    described["inference"]["class_names"] = ["a"]
    path.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"w.json: inference: class_names must be 3 texts, got 1"):
        load_detector(path)


def test_a_picture_never_replaces_an_image(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    picture(0, 50, 50).save(folder / "a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").symlink_to(folder / "a.jpg")
    before = (folder / "a.jpg").read_bytes()
    for output in (folder, tmp_path / "out" / ".." / "images", tmp_path / "out"):
        words = ["predict", "unread.safetensors", str(folder), "--output", str(output)]
        fails(words, r"--output: .*a.jpg: would replace one of the images; give another folder", capsys)
    assert (folder / "a.jpg").read_bytes() == before


def test_only_what_an_earlier_predict_wrote_is_replaced(weights, tmp_path, capsys):
    picture(0, 50, 50).save(tmp_path / "a.png")
    output = tmp_path / "out"
    words = ["predict", str(weights), str(tmp_path / "a.png"), "--output", str(output)]
    assert main(words) == 0
    picture(1, 60, 40).save(tmp_path / "a.png")
    assert main(words) == 0
    with Image.open(output / "a.jpg") as drawn:
        assert drawn.size == (60, 40)
    foreign = {
        "a.jpg": [(tmp_path / "a.png").read_bytes(), b"no picture"],
        "predictions.json": [b'[{"image_id": 1}]', b"{", b"3"],
    }
    for name, contents in foreign.items():
        mine = (output / name).read_bytes()
        for content in contents:
            (output / name).write_bytes(content)
            before = {path: path.read_bytes() for path in output.iterdir()}
            message = rf"--output: .*{name}: is there already and was not written by `spinesearch predict`"
            fails(words, message + "; give another folder", capsys)
            assert {path: path.read_bytes() for path in output.iterdir()} == before
        (output / name).write_bytes(mine)
    assert main(words) == 0


def test_a_file_that_cannot_be_read_is_left_out_under_its_own_name(weights, tmp_path, capsys):
    images = [tmp_path / f"{name}.png" for name in "abc"]
    for image in images:
        picture(0, 50, 50).save(image)
    images[1].write_bytes(images[1].read_bytes()[:60])  # the header alone is whole
    output = tmp_path / "out"
    words = ["predict", str(weights), *map(str, images), "--output", str(output)]
    fails(words, r"b.png: cannot be looked at: .*; it is left out", capsys)
    records = json.loads((output / "predictions.json").read_text())
    assert [record["file"] for record in records] == [str(image) for image in images]
    assert records[1]["error"].startswith(f"{images[1]}: cannot be looked at")
    assert records[0]["detections"] == records[2]["detections"] != []
    assert sorted(path.name for path in output.iterdir()) == ["a.jpg", "c.jpg", "predictions.json"]
    with pytest.raises(ValueError, match=r"b.png: cannot be looked at"):
        load_detector(weights).predict(images)


def test_what_cannot_be_looked_at_is_refused_in_a_line(weights, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    output = ["--output", str(tmp_path / "out")]
    base = ["predict", str(weights)]
    fails([*base, str(tmp_path / "none.jpg"), *output], r"none.jpg: there is no such image", capsys)
    fails([*base, str(tmp_path / "empty"), *output], r"empty: holds no image", capsys)
    fails([*base, str(tmp_path / "broken.jpg"), *output], r"broken.jpg: cannot be looked at", capsys)
    picture(0, 50, 50).save(tmp_path / "a.png")
    fails([*base, str(tmp_path / "a.png"), *output, "--threshold", "2"], "--threshold: must be in", capsys)
    fails([*base, str(tmp_path / "a.png"), *output, "--top-k", "0"], "--top-k: must be in 1..100", capsys)
