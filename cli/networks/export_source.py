"""What ``spinesearch export`` exports: a run's candidate, a published model, a spec, or trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spinesearch.cli.networks.named import find_network
from spinesearch.cli.runs.recorded import named_run
from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import ArchSpec, SpecError
from spinesearch.space.arch.spec_file import searched_with

if TYPE_CHECKING:
    from spinesearch.models.weights.description import Network
    from spinesearch.results.ledger.run import Run

WEIGHTS_SUFFIX = ".safetensors"
_INPUT_SIZE = 640  # pixels, where the source names none


class Source(NamedTuple):
    """A network that can be exported.

    Attributes:
        name: what it is called.
        arch: its architecture.
        data: its spec file's contents, where there is more to say than the spec; else None.
        module: the network, if there are weights of it.
        model: what `build_backbone` takes for it.
        input_size: side of its images in pixels.
    """

    name: str
    arch: ArchSpec | ResNetSpec
    data: dict[str, Any] | None
    module: Network | None
    model: ArchSpec | ResNetSpec | str
    input_size: int = _INPUT_SIZE

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its kind, as in a description, and its fusion, as far as its weights or its spec say."""
        if self.module is None:
            return searched_settings(searched_with((self.data or {}).get("provenance", {})))
        from spinesearch.models.weights.description import describe

        model: Mapping[str, Any] = describe(self.module)["model"]
        return model


def searched_settings(proxy_task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Kind and fusion of the networks that are scored under a proxy setting."""
    is_classifier = proxy_task.get("task") == "classification"
    is_masked = proxy_task.get("detector") == "mask_rcnn"
    kind = "classifier" if is_classifier else "mask_rcnn" if is_masked else "detector"
    return {"kind": kind, "fusion": proxy_task.get("fusion", "sum")}


def is_run(text: str) -> bool:
    """Whether a word means a run: one that is there, or nothing else that can be exported."""
    if named_run(text).is_dir() or Path(text).expanduser().is_dir():
        return True
    if text.endswith((WEIGHTS_SUFFIX, ".json")):
        return False
    try:
        find_network(text)
    except SpecError:
        return True  # whose error names what may be meant
    return False


def find_source(text: str) -> Source:
    """The network of weights, of a spec file or of a published name.

    Raises:
        ValueError: a file is damaged or missing, or nothing is published under this name.
    """
    if text.endswith(WEIGHTS_SUFFIX):
        from spinesearch.models.weights.description import Headed
        from spinesearch.models.weights.files import load_network

        path = Path(text).expanduser()
        module = load_network(path)
        if not isinstance(module, Headed):
            return Source(path.stem, module.spec, None, module, module.spec)
        spec, trained = module.backbone.spec, module.inference
        return Source(path.stem, spec, None, module, spec, trained.image_size if trained else _INPUT_SIZE)
    network = find_network(text)
    model = network.arch if network.source is None else network.source.name
    data = None
    if isinstance(network.arch, ArchSpec) and network.provenance:
        data = {**network.arch.to_dict(), "provenance": dict(network.provenance)}
    return Source(network.name, network.arch, data, None, model, network.input_size)


def run_source(run: Run, run_dir: Path, *, rank: int, with_weights: bool) -> Source:
    """The network of a run's candidate of this rank.

    Args:
        run: the search.
        run_dir: its folder.
        rank: from 1, finalists first.
        with_weights: whether to load those that a finalist's best training left.

    Raises:
        ValueError: there are not so many.
    """
    from spinesearch.results.export.specs import export_dict, kept_weights
    from spinesearch.results.finalists import trial_of_rank

    trial = trial_of_rank(run, run_dir, rank)
    data = export_dict(run, trial, rank=rank, run_name=run_dir.resolve().name)
    spec = run.spec(trial).renamed(data["name"])
    weights = kept_weights(run, trial, run_dir) if with_weights else None
    if weights is None:
        return Source(spec.name, spec, data, None, spec)
    return find_source(str(weights))._replace(name=spec.name, data=data)


def build(source: Source, *, num_classes: int | None, backbone_only: bool) -> Network:
    """The network of a source in evaluation mode: with its weights, or with initial ones of a fixed seed.

    Args:
        source: what to build.
        num_classes: of a detector on a network that was not trained; None for the backbone alone.
        backbone_only: whether the head of trained weights is left out.

    Raises:
        ValueError: the classes of trained weights are requested to be others.
    """
    import torch

    from spinesearch.models.backbone import build_backbone
    from spinesearch.models.heads.detector import build_detector
    from spinesearch.models.weights.description import Headed

    module = source.module
    if module is not None:
        if num_classes is not None:
            raise ValueError(f"--num-classes: the weights of {source.name} have a head; leave the option out")
        return module.backbone if backbone_only and isinstance(module, Headed) else module
    torch.manual_seed(0)
    fusion = source.settings.get("fusion", "sum")
    arguments = {} if fusion == "sum" else {"fusion": fusion}
    if num_classes is None:
        return build_backbone(source.model, **arguments).eval()
    return build_detector(source.model, num_classes=num_classes, **arguments).eval()
