"""Which network a word of a command means: a published model, or the one of a spec file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import ArchSpec, SpecError
from spinesearch.space.arch.spec_file import load_spec_file
from spinesearch.space.published import BackboneScaling, HeadScaling, PublishedModel, published

_FILE_INPUT_SIZE = 640  # of a spec file, which names none: SpineNet-49's


class Network(NamedTuple):
    """A published model, or a spec file at full width.

    Attributes:
        name: what people call it.
        arch: its architecture.
        backbone: its scaling.
        head: the head's.
        input_size: side of its images in pixels.
        source: the published model that it is; None for a file.
        provenance: what a file says of where it came from.
    """

    name: str
    arch: ArchSpec | ResNetSpec
    backbone: BackboneScaling
    head: HeadScaling
    input_size: int
    source: PublishedModel | None = None
    provenance: Mapping[str, Any] = {}


def is_spec_file(text: str) -> bool:
    """Whether a word names a file rather than a published model."""
    return text.endswith(".json") or os.sep in text


def find_network(text: str) -> Network:
    """The network of a spec file, or of a published name.

    Raises:
        SpecError: the file holds no spec, it is a folder, or nothing is published under this name.
    """
    if not is_spec_file(text):
        model = published(text)
        return Network(model.name, model.arch, model.backbone, model.head, model.input_size, model)
    path = Path(text).expanduser()
    if path.is_dir():
        raise SpecError(f"{text}: is a folder; give a spec file, as `spinesearch export RUN` writes them")
    spec, provenance = load_spec_file(path)
    return Network(
        spec.name or path.stem,
        spec,
        BackboneScaling(),
        HeadScaling(is_separable=spec.is_mbconv),
        _FILE_INPUT_SIZE,
        provenance=provenance,
    )
