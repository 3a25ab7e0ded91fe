"""``spinesearch predict``: find objects in images, or tell what they show, with trained weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinesearch.cli.networks.weights import add_weights, open_weights
from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import command_parser, fail, path_argument
from spinesearch.data.image_files import IMAGE_SUFFIXES, opened_image

if TYPE_CHECKING:
    from spinesearch.models.heads.classifier import ClassPrediction
    from spinesearch.models.heads.predict import Prediction

_JSON = "predictions.json"
_COMMENT = b"spinesearch predict"  # in every picture, which may be replaced therefore


def predict(arguments: list[str]) -> int:
    """Run ``spinesearch predict``; returns its exit code."""
    parser = command_parser(
        "predict",
        "Find objects in images: a picture with boxes for each, and one JSON with all of them, whose boxes\n"
        "are (x1, y1, x2, y2) in the pixels of the image file as stored; of a Mask R-CNN masks too, as\n"
        "COCO's RLE. A file that cannot be read is left out, with its error in the JSON; the exit code is\n"
        "2 then. A classifier's weights give the JSON alone, with the most likely classes of each image.\n"
        "Nothing in DIR is replaced but what an earlier `predict` wrote.",
        "examples:\n"
        "  spinesearch predict runs/NAME/weights/best.safetensors photo.jpg --output found\n"
        "  spinesearch predict runs/NAME FOLDER --output found --threshold 0.5 --top-k 20",
        has_config=False,
    )
    add_weights(parser)
    parser.add_argument("images", nargs="+", type=path_argument, metavar="IMAGE|FOLDER")
    parser.add_argument("-o", "--output", type=path_argument, required=True, metavar="DIR")
    parser.add_argument("--threshold", type=float, help="least score of a box (default: 0.3)")
    parser.add_argument(
        "--top-k", type=int, help="most boxes (default: 100) or classes (default: 5) of an image"
    )
    options = parser.parse_args(arguments)
    paths = _images(options.images)
    names = _picture_names(paths)
    with named_files({"--output": options.output}):
        _check_targets(paths, [options.output / name for name in (*names, _JSON)])
    network, inference = open_weights(options.weights, options.image_size, options.device)
    from spinesearch.data.whole_file import write_whole
    from spinesearch.models.heads.classifier import NUM_PREDICTED, Classifier, predict_classes
    from spinesearch.models.heads.detect import MAX_DETECTIONS
    from spinesearch.models.heads.predict import DEFAULT_THRESHOLD, ImageError, Prediction, predict_images

    found: Iterator[Prediction | ClassPrediction | ImageError]
    if is_classifier := isinstance(network, Classifier):
        if options.threshold is not None:
            raise ValueError(
                "--threshold: is of boxes, and these weights classify whole images; leave it out"
            )
        top_k = NUM_PREDICTED if options.top_k is None else options.top_k
        with _named_options():
            found = predict_classes(network, paths, inference, top_k=top_k)
    else:
        threshold = DEFAULT_THRESHOLD if options.threshold is None else options.threshold
        top_k = MAX_DETECTIONS if options.top_k is None else options.top_k
        with _named_options():
            found = predict_images(network, paths, inference, threshold=threshold, top_k=top_k)
    records: list[dict[str, Any]] = []
    num_found, num_failed = 0, 0
    with named_files({"--output": options.output}):
        options.output.mkdir(parents=True, exist_ok=True)
        for path, name, prediction in zip(paths, names, found, strict=True):
            if isinstance(prediction, ImageError):
                fail(f"{prediction}; it is left out")
                num_failed += 1
                records.append({"file": str(path), "error": str(prediction)})
                continue
            if isinstance(prediction, Prediction):
                _draw(path, prediction, options.output / name)
                records.append({"file": str(path), "picture": name, **_record(prediction)})
            else:
                records.append({"file": str(path), "classes": _classes(prediction)})
            num_found += len(prediction.scores)
        write_whole(options.output / _JSON, json.dumps(records, indent=1))
    if is_classifier:
        print(f"classified {len(records) - num_failed} images: {options.output / _JSON}")
        return 2 if num_failed else 0
    print(
        f"found {num_found} objects in {len(records) - num_failed} images: {options.output / _JSON} and a "
        "picture of each"
    )
    return 2 if num_failed else 0


@contextlib.contextmanager
def _named_options() -> Iterator[None]:
    """Errors about the arguments ``threshold`` and ``top_k`` name the options of this command."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"--{str(error).replace('top_k', 'top-k', 1)}") from error


def _images(given: Sequence[Path]) -> list[Path]:
    """The image files that are meant: those named, and those in folders named, by name.

    Raises:
        ValueError: a file is not there, or a folder holds none.
    """
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise ValueError(f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)}); give another folder")
            paths += found
        elif path.is_file():
            paths.append(path)
        else:
            raise ValueError(f"{path}: there is no such image or folder")
    return paths


def _picture_names(paths: Sequence[Path]) -> list[str]:
    """A name for the picture of each image, none twice."""

    def names() -> Iterator[str]:
        taken: set[str] = set()
        for path in paths:
            name, number = f"{path.stem}.jpg", 1
            while name in taken:
                number += 1
                name = f"{path.stem}_{number}.jpg"
            taken.add(name)
            yield name

    return list(names())


def _check_targets(paths: Sequence[Path], targets: Sequence[Path]) -> None:
    """Returns if what is to be written replaces nothing but what an earlier predict wrote.

    Raises:
        ValueError: it would replace one of the images, by whatever name, or another file.
    """
    images = {_identity(path) for path in paths if path.exists()}
    for target in filter(Path.exists, targets):
        if _identity(target) in images:
            raise ValueError(f"--output: {target}: would replace one of the images; give another folder")
        if not _is_ours(target):
            raise ValueError(
                f"--output: {target}: is there already and was not written by `spinesearch predict`; give "
                "another folder"
            )


def _is_ours(target: Path) -> bool:
    """Whether an earlier predict wrote the file: its pictures have a comment, its JSON is a list of files."""
    if target.name == _JSON:
        with contextlib.suppress(ValueError, OSError):
            rows = json.loads(target.read_bytes())
            return isinstance(rows, list) and all(isinstance(row, dict) and "file" in row for row in rows)
        return False
    with contextlib.suppress(OSError), opened_image(target) as image:
        return image.info.get("comment") == _COMMENT
    return False


def _identity(path: Path) -> tuple[int, int]:
    """What a file has whatever name it is opened by: through a link, or in other case where that is one."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _record(prediction: Prediction) -> dict[str, Any]:
    rows = zip(
        prediction.boxes.tolist(),
        prediction.scores.tolist(),
        prediction.labels.tolist(),
        prediction.names,
        strict=True,
    )
    size = [prediction.height, prediction.width]
    masks: list[dict[str, Any]] = [{} for _ in prediction.names]
    for mask, code in zip(masks, prediction.masks or (), strict=False):
        mask["mask"] = {"size": size, "counts": code.decode("ascii")}
    return {
        "width": prediction.width,
        "height": prediction.height,
        "detections": [
            {"box": box, "score": score, "label": label, "name": name, **mask}
            for (box, score, label, name), mask in zip(rows, masks, strict=True)
        ],
    }


def _classes(prediction: ClassPrediction) -> list[dict[str, Any]]:
    rows = zip(prediction.labels.tolist(), prediction.scores.tolist(), prediction.names, strict=True)
    return [{"label": label, "name": name, "score": score} for label, score, name in rows]


def _draw(path: Path, prediction: Prediction, target: Path) -> None:
    """Write the image with its boxes, in the pixels as stored; its EXIF orientation stays with it."""
    from spinesearch.data.coco.outlines import decode_mask
    from spinesearch.data.pack.images import as_rgb
    from spinesearch.results.drawing.detections import draw_detections

    texts = [f"{name} {score:.2f}" for name, score in zip(prediction.names, prediction.scores, strict=True)]
    with opened_image(path) as image:
        exif = image.getexif()
        width, height = prediction.width, prediction.height
        masks = [decode_mask(code, width, height) for code in prediction.masks or ()]
        boxes, labels = prediction.boxes.tolist(), prediction.labels.tolist()
        picture = draw_detections(as_rgb(image), boxes, labels, texts, masks)
    picture.save(target, quality=92, exif=exif, comment=_COMMENT)
