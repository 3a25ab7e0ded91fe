"""``spinesearch evaluate``: COCO's numbers, or top-1 and top-5, of trained weights on a data set."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from spinesearch.cli.networks.weights import add_weights, open_weights, weights_origin
from spinesearch.cli.os_errors import check_target, named_files
from spinesearch.cli.parser import build_console, command_parser, path_argument

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.data.coco.dataset import CocoDataset
    from spinesearch.data.open import DataSettings, ProxyData
    from spinesearch.models.heads.inference import Inference
    from spinesearch.models.weights.description import Headed
    from spinesearch.training.measure.classify import Classified
    from spinesearch.training.measure.evaluate import Scores
    from spinesearch.training.measure.evaluation import ClassMatch
    from spinesearch.training.measure.task import Seen

_MOST_CLASSES = 40  # whose top-1 is printed: ImageNet has a thousand


def evaluate(arguments: list[str]) -> int:
    """Run ``spinesearch evaluate``; returns its exit code."""
    parser = command_parser(
        "evaluate",
        "Print COCO's twelve numbers and the AP of each class on the validation images of a data set; for a\n"
        "Mask R-CNN those of its masks too, and for a classifier top-1 and top-5, and top-1 of each class.\n"
        "Classes are matched by name.",
        "examples:\n"
        "  spinesearch evaluate runs/NAME/weights/best.safetensors data=coco data.val_images=DIR \\\n"
        "      data.val_annotations=FILE\n"
        "  spinesearch evaluate runs/NAME --json --output detections.json\n"
        "  spinesearch evaluate runs/NAME data=classes data.val_images=DIR",
        has_config=False,
    )
    add_weights(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "-o",
        "--output",
        type=path_argument,
        metavar="FILE",
        help="file for the detections, in COCO's results format, or for the class found in each image",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="use only the K largest weights of each block, for a network with fusion=weighted or attention",
    )
    parser.add_overrides("settings of the data")
    options = parser.parse_with_overrides(arguments)
    if options.output is not None:
        check_target("--output", options.output)
    from spinesearch.data.whole_file import write_whole
    from spinesearch.search.training.train_data import scored_data_warning
    from spinesearch.search.warn import warn
    from spinesearch.training.measure.classify import Classified
    from spinesearch.training.measure.evaluation import class_results, coco_results

    settings = _data_settings(options.overrides)
    network, inference = open_weights(options.weights, options.image_size, options.device)
    if options.top_k is not None:
        limit_weights(network, options.top_k)
    console = build_console()
    console.stderr = options.json  # its lines are no part of the object
    evaluated = evaluate_on(network, inference, settings, console)
    if warning := scored_data_warning(weights_origin(options.weights), settings):
        warn(console, warning)
    if options.output is not None:
        with named_files({"--output": options.output}):
            data, found = evaluated.data, evaluated.found
            if isinstance(found, Classified):
                results = class_results(data, found)
            else:
                results = coco_results(data.dataset, found)
            write_whole(options.output, json.dumps(results))
    if options.json:
        print(json.dumps(evaluated.plain))
        return 0
    _print(evaluated)
    return 0


def limit_weights(network: Headed, top_k: int) -> None:
    """Leave each block of a network so many weights of its inputs.

    Raises:
        ValueError: it weighs none, or there is no such number.
    """
    from spinesearch.models.fusion import SharedFusion

    fusion = getattr(network.backbone, "resamples", None)
    if not isinstance(fusion, SharedFusion):
        raise ValueError("--top-k: the network sums its inputs; train one with train.fusion=attention")
    if top_k < 1:
        raise ValueError(f"--top-k: must be at least 1, got {top_k}")
    fusion.top_k = top_k


class Evaluated(NamedTuple):
    """A network's numbers on the validation images of a data set.

    Attributes:
        data: these images.
        found: in them, or what they were taken for.
        scores: of that.
        plain: the same for JSON, with the classes that one side lacks.
    """

    data: ProxyData
    found: Seen
    scores: Scores
    plain: dict[str, Any]


def evaluate_on(network: Headed, inference: Inference, settings: DataSettings, console: Console) -> Evaluated:
    """What a network is worth on the validation images of a data set.

    Raises:
        DataError: the data cannot be used.
        ValueError: they are not of the network's task.
    """
    from spinesearch.data.data_settings import ClassDataSettings
    from spinesearch.data.open import open_val_data
    from spinesearch.models.heads.classifier import Classifier
    from spinesearch.models.heads.detect import FindsInstances
    from spinesearch.search.engine import reporting
    from spinesearch.training.measure.classify import Classified
    from spinesearch.training.measure.evaluation import (
        evaluate_classifier,
        evaluate_detector,
        match_classes,
    )

    is_classifier = isinstance(network, Classifier)
    if is_classifier != isinstance(settings, ClassDataSettings):
        if is_classifier:
            kind, wanted, words = "classifier", "data=classes", "data=classes data.val_images=DIR"
        else:
            kind, wanted = "detector", "data with boxes"
            words = "data=coco data.val_images=DIR data.val_annotations=FILE"
        raise ValueError(
            f"WEIGHTS: are a {kind}'s, which needs {wanted}, got data={settings.name}; give {words}"
        )

    def matched(dataset: CocoDataset) -> ClassMatch:
        return match_classes(dataset.categories, inference.class_names, network.head.num_classes)

    with reporting(console) as reports:
        masks = isinstance(network, FindsInstances)
        # Matched before the images are packed too, which takes minutes with COCO.
        data = open_val_data(settings, image_size=inference.image_size, masks=masks, check=matched, **reports)
        match = matched(data.dataset)
        for line in match.lines:
            reports["warn"](line)
        total = len(data.held_out_index)

        def on_batch(num_done: int) -> None:
            reports["progress"]("evaluating images", num_done, total)

        found: Seen
        if isinstance(network, Classifier):
            found, scores = evaluate_classifier(network, data, match, on_batch=on_batch)
        else:
            found, scores = evaluate_detector(network, data, inference, match, on_batch=on_batch)
    plain = _plain(scores, data.key, total, match.missing, match.extra)
    if isinstance(found, Classified):
        plain["class_top1"] = _top1_by_class(data, found)
    return Evaluated(data, found, scores, plain)


def _data_settings(overrides: list[str]) -> DataSettings:
    """The settings of the data, of which only the validation images are read.

    Raises:
        ConfigError: they cannot be used, or the words set something else.
    """
    from spinesearch.search.config.checked import checked_section
    from spinesearch.search.config.config_errors import ConfigError
    from spinesearch.search.config.run_config import compose
    from spinesearch.search.config.sections import TRAINING

    for word in overrides:
        if word.partition("=")[0].partition(".")[0] != "data":
            raise ConfigError(f"{word}: settings of the data alone can be given, as data=coco")
    node = compose(overrides, TRAINING)["data"]
    for kind in ("images", "annotations"):
        if node.get(f"train_{kind}") == "???":  # not read, and of no interest here
            node[f"train_{kind}"] = node[f"val_{kind}"] or "."
    settings: DataSettings = checked_section(node, TRAINING, "data")
    return settings


def _plain(
    scores: Scores, key: str, num_images: int, missing: tuple[str, ...], extra: tuple[str, ...]
) -> dict[str, Any]:
    masks = {}
    if scores.masks is not None:
        masks["masks"] = {**scores.masks.summary, "class_aps": scores.masks.class_aps}
    return {
        **scores.summary,
        "class_aps": scores.class_aps,
        **masks,
        "num_images": num_images,
        "data_key": key,
        "missing_classes": list(missing),
        "extra_classes": list(extra),
    }


def _top1_by_class(data: ProxyData, found: Classified) -> dict[str, float | None]:
    """The share of each class's images that is right, the lowest first; None for one without any."""
    from spinesearch.training.measure.classify import true_classes

    truth = true_classes(data, data.held_out_index)
    is_right = found.labels[:, 0] == truth
    shares = {
        name: float(is_right[truth == label].mean()) if (truth == label).any() else None
        for label, name in enumerate(data.class_names)
    }
    return dict(sorted(shares.items(), key=lambda item: 2.0 if item[1] is None else item[1]))


def _print(evaluated: Evaluated) -> None:
    from spinesearch.results.tables import narrow_table

    console, scores = build_console(), evaluated.scores
    of_all = "share that is right" if "top1" in scores.summary else "COCO's numbers"
    tables = [(of_all, scores.summary), ("AP by class", scores.class_aps)]
    if top1 := evaluated.plain.get("class_top1"):
        title = "top-1 by class"
        if len(top1) > _MOST_CLASSES:
            title += f", the lowest {_MOST_CLASSES} of {len(top1)}"
        tables += [(title, dict(islice(top1.items(), _MOST_CLASSES)))]
    if scores.masks is not None:
        tables += [("COCO's numbers, of masks", scores.masks.summary)]
        tables += [("AP by class, of masks", scores.masks.class_aps)]
    for title, numbers in tables:
        if not numbers:
            continue
        table = narrow_table(title)
        table.add_column("")
        table.add_column("", justify="right")
        for name, value in numbers.items():
            table.add_row(name, "-" if value is None else f"{value:.4f}")
        console.print(table)
