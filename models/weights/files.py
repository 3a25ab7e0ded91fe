"""Weights on disk: safetensors, and beside them a JSON description that rebuilds the network.

``weights.safetensors`` holds the state dict; its header notes the version of this format, the architecture
and the compat, so that no file is loaded into a network that its weights only seem to fit. ``weights.json``
holds what `describe` says. Neither can carry code: nothing here unpickles.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spinesearch.models.fit import check_fit
from spinesearch.models.heads.classifier import Classifier
from spinesearch.models.weights.description import (
    Backbone,
    Detector,
    Headed,
    Network,
    build_described,
    check_size,
    describe,
)
from spinesearch.models.weights.whole_file import check_whole, write_error
from spinesearch.space import pretty_json

SUFFIX = ".safetensors"
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # that weights may be stored in
FORMAT_VERSION = "1"
_BACKBONE_ALONE = "a backbone without a head; `load_backbone`"


def save_weights(
    module: nn.Module,
    path: str | Path,
    *,
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a network's weights, and beside them a ``.json`` that rebuilds it.

    Each file appears whole or not at all. Tensors that share memory, or lie in another order (channels_last),
    are stored one by one in the usual order.

    Args:
        module: a backbone, a detector or a classifier.
        path: of the weights; must end in ``.safetensors``.
        overwrite: whether files that are there already are replaced.
        notes: what else the ``.json`` says, such as where the weights come from; nothing reads it.

    Raises:
        ValueError: the path ends otherwise, a file is in the way, or the module has no weights (meta device).
        OSError: a file cannot be written.
        TypeError: the module is of another kind.
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    description = describe(module)
    state = module.state_dict()
    if any(tensor.is_meta for tensor in state.values()):
        raise ValueError("module: it is on the meta device and has no weights to save")
    tensors = {name: t.cpu().clone(memory_format=torch.contiguous_format) for name, t in state.items()}
    _write_together(
        {  # the weights last: a description without weights does no harm
            description_file(path): lambda file: file.write_text(
                pretty_json({**(notes or {}), **description}), encoding="utf-8"
            ),
            path: lambda file: save_file(tensors, file, weight_header(description)),
        }
    )


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Fill a network from a file of `save_weights`. A load that fails changes nothing.

    Args:
        module: a network of the kind, architecture and compat that were saved, on any device and of any
            floating dtype.
        path: of the weights.

    Raises:
        ValueError: the file is not a safetensors file, is damaged, or holds another network's weights; then
            the message names the first three tensors that differ.
        OSError: the file cannot be read.
        TypeError: the module is of another kind.
    """
    path, state = Path(path), module.state_dict()
    tensors = _read(path, state, weight_header(describe(module)))
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(tensors[name])


def load_detector(path: str | Path) -> Detector:
    """The detector that `save_weights` wrote, in evaluation mode.

    Args:
        path: of the weights; the ``.json`` of the same name is beside them.

    Raises:
        ValueError: one of the files is damaged, they belong to different networks, or they hold a backbone
            alone.
        OSError: one of the files cannot be read.
    """
    module = load_network(path)
    if not isinstance(module, Detector):
        what = "a classifier; `load_classifier`" if isinstance(module, Classifier) else _BACKBONE_ALONE
        raise ValueError(f"{path}: holds {what} reads it")
    return module


def load_classifier(path: str | Path) -> Classifier:
    """The classifier that `save_weights` wrote, in evaluation mode; else as `load_detector`."""
    module = load_network(path)
    if not isinstance(module, Classifier):
        what = "a detector; `load_detector`" if isinstance(module, Detector) else _BACKBONE_ALONE
        raise ValueError(f"{path}: holds {what} reads it")
    return module


def load_backbone(path: str | Path) -> Backbone:
    """The backbone that `save_weights` wrote, alone or under a head, in evaluation mode.

    Args:
        path: of the weights; the ``.json`` of the same name is beside them.

    Raises:
        ValueError: one of the files is damaged, or they belong to different networks.
        OSError: one of the files cannot be read.
    """
    module = load_network(path)
    return module.backbone if isinstance(module, Headed) else module


def description_file(path: Path) -> Path:
    """Path of the description of a weight file."""
    return path.with_suffix(".json")


def check_target(path: Path, *, overwrite: bool) -> None:
    """Returns if `save_weights` may write there.

    Raises:
        ValueError: the path does not end in ``.safetensors``, its folder is missing, or a file is in the way.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: the name of a weight file must end in {SUFFIX}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is not a folder {path.parent}")
    for file in (path, description_file(path)):
        if file.is_dir() or (file.exists() and not overwrite):
            raise ValueError(f"{file}: exists already and is not overwritten; give another path or remove it")


def weight_header(description: dict[str, Any]) -> dict[str, str]:
    """What a weight file notes in its header; the description's own blocks, whose order names the weights."""
    architecture = {key: description[key] for key in ("stem", "blocks", "resnet_depth") if key in description}
    return {
        "format_version": FORMAT_VERSION,
        "arch_id": description.get("arch_id", description["name"]),
        "architecture": json.dumps(architecture),
        "compat": description["model"]["compat"],
        "activation": description["model"]["activation"],
        "description": _digest(description),
    }


def _digest(description: dict[str, Any]) -> str:
    if "schema_version" in description:  # weight files were first written under 1, and say the same under 2
        description = {**description, "schema_version": 1}
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, state: dict[str, Tensor], header: dict[str, str]) -> dict[str, Tensor]:
    """Tensors of a file that fit a state dict and a header."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    check_whole(path)
    try:
        with safe_open(path, framework="pt") as file:
            stored = file.metadata() or {}
            names = list(file.keys())
            check_format(stored, path)
            check_fit(
                {name: tensor.shape for name, tensor in state.items()},
                {name: file.get_slice(name).get_shape() for name in names},
                source=str(path),
            )
            for key in ("arch_id", "architecture", "compat", "activation"):
                if stored.get(key, header[key]) != header[key]:
                    raise ValueError(f"{path}: {_difference(key, stored[key], header[key])}")
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path}: is damaged or not a safetensors file: {error}") from error
    return {name: converted(path, name, tensors[name], tensor) for name, tensor in state.items()}


def check_format(header: Mapping[str, str], source: Path | str) -> None:
    """Raises `ValueError`, which begins with the source, if a file is of another version of the format."""
    version = header.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ValueError(f"{source}: this release reads version {FORMAT_VERSION}, got {version!r}")


def converted(source: Path | str, name: str, stored: Tensor, needed: Tensor) -> Tensor:
    """A stored tensor's values in the dtype and on the device of the model's.

    Raises:
        ValueError: it cannot be such a tensor; the message begins with the source.
    """
    if needed.is_meta:
        raise ValueError(f"module: {name} is on the meta device and has no memory to load into")
    is_counter = not needed.is_floating_point()
    if stored.dtype not in ((torch.int64,) if is_counter else FLOATING):
        raise ValueError(f"{source}: {name} holds {stored.dtype} where the model has {needed.dtype}")
    value = stored.to(needed.device, needed.dtype)
    if (is_counter or name.endswith("running_var")) and bool((value < 0).any()):
        raise ValueError(f"{source}: {name} holds negative numbers")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{source}: {name} holds numbers that are not finite in {needed.dtype}")
    return value


def _num_numbers(path: Path) -> int:
    """How many numbers a weight file holds at most, by its size."""
    return path.stat().st_size // min(dtype.itemsize for dtype in FLOATING)


def _difference(key: str, stored: str, needed: str) -> str:
    if key == "architecture":
        return "the same architecture with blocks or parents in another order, so that weights change places"
    return f"holds weights of {key} {stored}, but the model's {key} is {needed}"


def load_network(path: str | Path) -> Network:
    """Whatever network `save_weights` wrote, in evaluation mode.

    Args:
        path: of the weights; the ``.json`` of the same name is beside them.

    Raises:
        ValueError: one of the files is damaged, or they belong to different networks.
        OSError: one of the files cannot be read.
    """
    path = Path(path)
    file = description_file(path)
    if path.is_file():
        check_whole(path)
    try:
        description = json.loads(file.read_text(encoding="utf-8-sig"))
        if path.is_file():
            check_size(description, num_numbers=_num_numbers(path))
        module = build_described(description)
    except FileNotFoundError as error:
        missing = f"{file}, which belongs beside it" if path.is_file() else "such file"
        raise ValueError(f"{path}: there is no {missing}") from error
    except (ValueError, RecursionError) as error:  # also of JSON and of its encoding
        raise ValueError(f"{file}: {error}") from error
    load_weights(module, path)
    with safe_open(path, framework="pt") as weights:
        recorded = (weights.metadata() or {}).get("description")
    if recorded is not None and recorded != _digest(describe(module)):
        raise ValueError(
            f"{file}: does not describe the network that {path.name} was saved from; "
            "`load_weights` fills a network that you have built"
        )
    return module.eval()


def _write_together(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Have every file written; they appear whole, one after the other, once all of them are."""
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in writers}
    try:
        for path, write in writers.items():
            temporary = temporaries[path]
            try:
                temporary.touch()
                mode = temporary.stat().st_mode
                write(temporary)
                temporary.chmod(mode)  # safetensors writes files that only their owner may read
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            except (OSError, SafetensorError) as error:
                raise write_error(path, error) from error
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
