"""Writing one network in a form that needs nothing of ours, for ``spinesearch export``."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinesearch.cli.networks.export_source import Source, build
from spinesearch.cli.os_errors import named_files
from spinesearch.cli.parser import build_console, print_next
from spinesearch.space.arch.spec import ArchSpec

ENDINGS = {"json": ".json", "tf": "_blocks.py", "python": ".py", "torch": ".pt2", "onnx": ".onnx"}
# By kind: settings of `train` that make such a network, and what it is called.
_TRAINED = {
    "detector": ("data=coco", "detector"),
    "mask_rcnn": ("train.detector=mask_rcnn data=coco", "Mask R-CNN"),
    "classifier": ("train.task=classification data=classes", "classifier"),
}


def export_network(source: Source, options: argparse.Namespace) -> int:
    """Write one network."""
    from spinesearch.data.whole_file import file_name, write_whole

    path = options.output or Path(file_name(source.name) + ENDINGS[options.format])
    suffix = Path(ENDINGS[options.format]).suffix or ENDINGS[options.format]
    if path.suffix != suffix:
        raise ValueError(f"--output: must end in {suffix} for --format {options.format}, got {path}")
    with named_files({"--output": path}):
        if options.format in ("json", "tf"):
            text = _spec_text(source, options.format)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
            print(f"exported {path}")
        else:
            _write_module(source, path, options)
    print_following(path, options.format, source.settings)
    return 0


def print_following(path: Path, form: str, settings: Mapping[str, Any]) -> None:
    """Print what can be done with a file of a format.

    Args:
        path: of the file.
        form: its format.
        settings: kind and fusion of the network, as `Source.settings`.
    """
    name, text = shlex.quote(str(path)), repr(str(path))
    loaded = {
        "torch": f"import torch; print(torch.export.load({text}))",
        "onnx": f"import onnxruntime as ort; print(ort.InferenceSession({text}).get_outputs())",
    }
    commands = {}
    if form == "json":
        words, kind = _TRAINED.get(settings["kind"], _TRAINED["detector"])
        if settings.get("fusion", "sum") != "sum":
            words = f"train.fusion={settings['fusion']} {words}"
        commands[f"spinesearch spec show {name}"] = "its cost, and drawn"
        commands[f"spinesearch train {name} {words} ..."] = f"a {kind} on it"
    elif form == "python":
        commands[f"python -m pydoc {shlex.quote(str(path.absolute()))}"] = "what it offers"
    elif form in loaded:
        commands[shlex.join(["python", "-c", loaded[form]])] = "what it gives"
    print_next(build_console(), commands)


def _spec_text(source: Source, form: str) -> str:
    from spinesearch.space.arch.pretty import pretty_json

    if not isinstance(source.arch, ArchSpec):
        raise ValueError(f"--format {form}: {source.name} is a ResNet, which has no block spec")
    if form == "tf":
        from spinesearch.results.export.tf_list import tf_list_text

        fusion = source.settings.get("fusion", "sum")
        if fusion != "sum":
            raise ValueError(
                f"--format tf: the authors' builders add two parents, and {source.name} has fusion={fusion}; "
                "--format python writes any network"
            )
        return tf_list_text(source.arch)
    return pretty_json(source.data or source.arch.to_dict())


def _write_module(source: Source, path: Path, options: argparse.Namespace) -> None:
    from spinesearch.data.whole_file import write_whole
    from spinesearch.models.weights.description import Detector
    from spinesearch.results.export.plain_twin import class_names, kind_of, plain_twin

    if options.format == "onnx":
        from spinesearch.results.export.onnx_file import check_onnx

        check_onnx()
    if options.backbone_only and options.num_classes is not None:
        raise ValueError("--backbone-only: a backbone alone has no classes; leave --num-classes out")
    size = _size(options.input_size, source.input_size)
    base_anchor = options.base_anchor
    if base_anchor is not None and not 0.0 < base_anchor < math.inf:
        raise ValueError(f"--base-anchor: must be positive and finite, got {base_anchor}")
    module = build(source, num_classes=options.num_classes, backbone_only=bool(options.backbone_only))
    is_detector, kind = isinstance(module, Detector), kind_of(module)
    if base_anchor is not None and not is_detector:
        raise ValueError(f"--base-anchor: a {kind} has no anchors; leave the option out")
    if options.raw and not is_detector:
        raise ValueError(f"--raw: a {kind}'s outputs are as they are; leave the option out")
    path.parent.mkdir(parents=True, exist_ok=True)
    if source.module is None:
        print("note: there are no trained weights of it, so it gets initial ones")
    what = f"{source.name}, a {kind}"
    if options.format == "python":
        from spinesearch.results.export.python_file import write_python_file

        weights = write_python_file(module, path, name=source.name, base_anchor=base_anchor)
        print(f"exported {path} and {weights}: {what}")
        return
    twin = plain_twin(module, base_anchor=base_anchor)
    if options.format == "torch":
        from spinesearch.results.export.program import write_program

        write_whole(path, lambda file: write_program(twin, file, size))
    else:
        from spinesearch.results.export.onnx_file import write_onnx

        names, is_raw = class_names(module), bool(options.raw)
        write_whole(path, lambda file: write_onnx(twin, file, size, is_raw=is_raw, class_names=names))
    print(f"exported {path}: {what} for any number of images of {size[0]} x {size[1]}")


def _size(text: str | None, default: int) -> tuple[int, int]:
    """Height and width of ``N`` or ``HxW``."""
    from spinesearch.space.cost.plan import image_size

    if text is None:
        return image_size(default)
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"--input-size: must be one side or HxW in pixels, got {text!r}")
    numbers = [int(side) for side in sides]
    return image_size(numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1]))
