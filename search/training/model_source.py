"""What is to be trained: a published model, a spec file, or what a search has found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinesearch.models.heads.anchors import anchors_per_cell
from spinesearch.models.heads.classifier import build_classifier
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.inference import Inference
from spinesearch.models.mask_rcnn.detector import build_mask_rcnn
from spinesearch.models.weights.description import Headed, described_network
from spinesearch.results.finalists import trial_of_rank
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.space import ArchSpec, ResNetSpec, SpecError
from spinesearch.space.arch.spec_file import load_spec_file, searched_fusion
from spinesearch.space.cost.fusion import check_fusion
from spinesearch.space.published import BackboneScaling, HeadScaling, published
from spinesearch.space.published_masks import PUBLISHED_MASK_RCNN
from spinesearch.training.recipe import CLASSIFICATION
from spinesearch.training.run.train_settings import OF_THE_MODEL, TrainSettings

# Of a search's data settings: its held-out images are of the second where it has no images for scoring.
_SCORED_ON = ("score_annotations", "train_annotations")
_OF_MASK_HEADS = "head_num_hidden"  # an argument that Mask R-CNNs alone have
_NOT_OF_RESNETS = ("resample_alpha", "block_repeats", "fusion")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """An architecture, how it is scaled unless settings say otherwise, and where it comes from.

    Attributes:
        name: for people.
        arch: the backbone's architecture.
        arguments: of `build_detector`.
        origin: plain data: a published name, a file, or a search's run, trial and reward, with the annotation
            files that scored it.
    """

    name: str
    arch: ArchSpec | ResNetSpec
    arguments: Mapping[str, Any]
    origin: Mapping[str, Any]


def published_source(name: str) -> ModelSource:
    """A published model.

    Raises:
        SpecError: nothing is published under this name.
    """
    model = published(name)
    arguments = _scaling(model.arch, model.backbone, model.head)
    return ModelSource(
        name=model.name, arch=model.arch, arguments=arguments, origin={"published": model.name}
    )


def file_source(path: Path) -> ModelSource:
    """The architecture of a spec file; of a description beside weights also how their network is scaled.

    An architecture that a search found has the fusion that it was scored with.

    Raises:
        ValueError: it is neither.
        OSError: it cannot be read.
    """
    try:
        data = json.loads(path.read_bytes())
    except ValueError:
        data = None  # which `load_spec_file` explains
    data = data if isinstance(data, dict) else {}
    arch: ArchSpec | ResNetSpec
    described: Mapping[str, Any] = {}
    origin: Mapping[str, Any] = {}
    if "model" in data:
        try:
            arch, described = described_network(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        origin = trained_source(data)
    else:
        arch, provenance = load_spec_file(path)
        described = {"fusion": searched_fusion(provenance)}
        origin = {"provenance": dict(provenance)} if provenance else {}
    arguments = _scaling(arch, BackboneScaling(), HeadScaling(is_separable=_is_mbconv(arch)))
    if _OF_MASK_HEADS in described:
        del arguments["head_is_separable"]
    wanted = (*OF_THE_MODEL, _OF_MASK_HEADS, "compat")
    arguments |= {name: described[name] for name in wanted if name in described}
    origin = {**origin, "file": str(path)}
    return ModelSource(name=arch.name or path.stem, arch=arch, arguments=arguments, origin=origin)


def trained_source(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the architecture of trained weights comes from, by their description; empty if it has none."""
    training = described.get("training")
    source = training.get("source") if isinstance(training, dict) else None
    return source if isinstance(source, dict) else {}


def run_source(run: Run, run_dir: Path, rank: int) -> ModelSource:
    """The architecture of this rank on the leaderboard of a search.

    Raises:
        ValueError: the run is no search, or has fewer.
    """
    if run.kind != "search":
        raise ValueError(
            f"MODEL: {run_dir} is a {run.kind}, not a search; give a search's run, a name or a file"
        )
    trial = trial_of_rank(run, run_dir, rank)
    name = f"{run_dir.resolve().name}-{rank:02d}"
    arch = run.spec(trial).renamed(name)
    return ModelSource(
        name=name,
        arch=arch,
        arguments={
            **_scaling(arch, BackboneScaling(), HeadScaling(is_separable=arch.is_mbconv)),
            "fusion": run.config["proxy_task"].get("fusion", "sum"),
        },
        origin={
            "run": run_dir.resolve().name,
            "rank": rank,
            "trial": trial.trial,
            "arch_id": trial.arch_id,
            "reward": trial.reward,
            "space": run.config["space"]["name"],
            "data_key": run.sessions[0]["data"]["key"],
            "scored_on": [file for key in _SCORED_ON if (file := run.config["data"].get(key))],
        },
    )


def check_fusion_fits(source: ModelSource, settings: TrainSettings) -> None:
    """Returns if an architecture can have the fusion of the settings: known before data are opened.

    Raises:
        ConfigError: it cannot.
    """
    fusion = settings.fusion or source.arguments.get("fusion", "sum")
    if isinstance(source.arch, ArchSpec):
        try:
            check_fusion(fusion, source.arch)
        except SpecError as error:
            raise ConfigError(f"train.{error}") from error
    elif fusion != "sum":
        raise ConfigError(f"train.fusion: {source.name} has none to change, got {fusion}; give fusion=sum")


def build_source(source: ModelSource, settings: TrainSettings, class_names: tuple[str, ...]) -> Headed:
    """The network that is trained, initialised from torch's global generator.

    Raises:
        ValueError: the settings do not fit the architecture.
    """
    given = {name: value for name in OF_THE_MODEL if (value := getattr(settings, name)) is not None}
    if isinstance(source.arch, ResNetSpec):  # whose depth is its spec's, and nothing is resampled
        given = {name: given[name] for name in given if name not in _NOT_OF_RESNETS}
    arguments: dict[str, Any] = {
        "num_classes": len(class_names),
        "stochastic_depth_rate": settings.stochastic_depth_rate,
        "bn_momentum": settings.bn_momentum,
        "bn_eps": settings.bn_eps,
        **_fitting_arguments(source, settings),
        **given,
    }
    network: Headed
    if settings.task == CLASSIFICATION:
        of_backbone = {name: arguments[name] for name in arguments if not name.startswith("head_")}
        network = build_classifier(source.arch, **of_backbone)
    else:
        num_anchors = anchors_per_cell(settings.num_scales)
        build: Callable[..., Headed] = build_mask_rcnn if settings.needs_masks else build_detector
        network = build(source.arch, num_anchors=num_anchors, **arguments)
    network.inference = Inference(
        image_size=settings.image_size,
        num_scales=settings.num_scales,
        base_anchor=float(settings.base_anchor),
        class_names=class_names,
    )
    return network


def _fitting_arguments(source: ModelSource, settings: TrainSettings) -> dict[str, Any]:
    """What a source says of the network that is wanted; of its heads nothing if it has others."""
    arguments = dict(source.arguments)
    if settings.needs_masks and (masks := PUBLISHED_MASK_RCNN.get(source.origin.get("published", ""))):
        return asdict(masks.backbone) | {f"head_{key}": value for key, value in asdict(masks.head).items()}
    if settings.needs_masks != (_OF_MASK_HEADS in arguments):
        arguments = {name: value for name, value in arguments.items() if not name.startswith("head_")}
        if not settings.needs_masks:
            arguments["head_is_separable"] = _is_mbconv(source.arch)
    return arguments


def _is_mbconv(arch: ArchSpec | ResNetSpec) -> bool:
    return isinstance(arch, ArchSpec) and arch.is_mbconv


def _scaling(arch: ArchSpec | ResNetSpec, backbone: BackboneScaling, head: HeadScaling) -> dict[str, Any]:
    """The arguments of `build_detector` that a published scaling gives."""
    scaling = asdict(backbone)
    if isinstance(arch, ResNetSpec):
        scaling = {"endpoints_num_filters": backbone.endpoints_num_filters}
    return {**scaling, **{f"head_{name}": value for name, value in asdict(head).items()}}
