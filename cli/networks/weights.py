"""What the commands on trained weights share: which file is meant, and how its images are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinesearch.cli.parser import CommandParser
from spinesearch.cli.runs.recorded import named_run

if TYPE_CHECKING:
    from spinesearch.models.heads.inference import Inference
    from spinesearch.models.weights.description import Headed


def add_weights(parser: CommandParser) -> None:
    """Take the weights and what imported ones do not say themselves."""
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a .safetensors file, or a training's folder or its name in runs/: its best",
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="side of the network's image (default: as trained)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def open_weights(text: str, image_size: int | None, device: str) -> tuple[Headed, Inference]:
    """The network on its device, and how images are made for it.

    Raises:
        ValueError: there is no such file, it cannot be used, or it does not say how large its images are.
    """
    from spinesearch.models.heads.classifier import Classifier
    from spinesearch.models.heads.inference import Inference
    from spinesearch.models.weights.description import Headed
    from spinesearch.models.weights.files import load_network
    from spinesearch.training.process.machine import find_device
    from spinesearch.training.setting_rules import CLASSIFIER_IMAGE_SIZE, IMAGE_SIZE

    path = weight_file(text)
    network = load_network(path)
    if not isinstance(network, Headed):
        raise ValueError(f"{path}: holds a backbone without a head, which finds nothing; give other weights")
    fits, rule = CLASSIFIER_IMAGE_SIZE if isinstance(network, Classifier) else IMAGE_SIZE
    if image_size is not None and not fits(image_size):
        raise ValueError(f"--image-size: must be {rule}, got {image_size}")
    inference = network.inference
    if inference is None and image_size is None:
        raise ValueError(f"--image-size: must be given, as {path} does not say how large its images are")
    if image_size is not None:
        inference = replace(inference or Inference(image_size=image_size), image_size=image_size)
    assert inference is not None
    network.to(find_device(device, "--device"))
    return network, inference


def weights_origin(text: str) -> Mapping[str, Any]:
    """Where the architecture of weights comes from, as the training that left them recorded it."""
    from spinesearch.models.weights.files import description_file
    from spinesearch.search.training.model_source import trained_source

    return trained_source(json.loads(description_file(weight_file(text)).read_text(encoding="utf-8-sig")))


def weight_file(text: str) -> Path:
    """The weight file that is meant: of a training's folder its best.

    Raises:
        ValueError: the folder has none.
    """
    from spinesearch.results.ledger.files import WEIGHTS_FOLDER
    from spinesearch.search.training.recorder import BEST

    path = Path(text).expanduser()
    if not path.exists() and named_run(text).is_dir():
        path = named_run(text)
    if not path.is_dir():
        return path
    if not (path / WEIGHTS_FOLDER / BEST).is_file():
        raise ValueError(f"WEIGHTS: {path} is a folder without {WEIGHTS_FOLDER}/{BEST}; give a file")
    return path / WEIGHTS_FOLDER / BEST
