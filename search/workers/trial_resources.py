"""What a worker needs of a cluster, and how many of them its nodes have room for: `TrialResources`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.run_config import ConfigError

NODE_ID = "ray.io/node-id"  # the label that Ray gives every node
_ROUNDING = 1e-6  # 0.1 goes ten times into 1, whatever floats say


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResources:
    """What one worker occupies while it lives.

    Attributes:
        cpus: processors.
        gpus: GPUs; a fraction shares one.
        custom: Ray's custom resources, by name.
    """

    cpus: float
    gpus: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)

    def actor_options(self, excluded: Collection[str] = ()) -> dict[str, Any]:
        """Ray's options of an actor that needs this.

        Args:
            excluded: ids of nodes where it must not run.
        """
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": dict(self.custom)}
        if excluded:
            options["label_selector"] = {NODE_ID: f"!in({','.join(sorted(excluded))})"}
        return options

    def workers_that_fit(self, nodes: Sequence[Mapping[str, Any]], excluded: Collection[str] = ()) -> int:
        """How many workers the living nodes have room for, were they empty.

        Args:
            nodes: as `ray.nodes` lists them.
            excluded: ids of nodes that do not count.
        """
        return sum(
            self._fit(node["Resources"]) for node in nodes if node["Alive"] and node["NodeID"] not in excluded
        )

    def _fit(self, resources: Mapping[str, float]) -> int:
        """How many one node has room for."""
        needs = {"CPU": self.cpus, "GPU": self.gpus, **self.custom}
        fits = [
            # A fraction has to fit one unit: 0.4 of two GPUs goes four times, not five.
            int(resources.get(name, 0.0) + _ROUNDING) * int(1 / need + _ROUNDING)
            if name == "GPU" and need < 1
            else int(resources.get(name, 0.0) / need + _ROUNDING)
            for name, need in needs.items()
            if need
        ]
        return min(fits)

    def placed(self, task: ProxySettings) -> ProxySettings:
        """The proxy task as such a worker carries it out: on a GPU if it has one, unless a device is set."""
        if task.device != "auto":
            return task
        return replace(task, device="cuda" if self.gpus else "cpu")

    def __str__(self) -> str:
        """As in ``1 CPU and 0.5 GPU``."""
        others = "".join(f" and {amount:g} {name}" for name, amount in self.custom.items())
        return f"{self.cpus:g} CPU and {self.gpus:g} GPU{others}"


def trial_resources(
    cpus: float, gpus: float | None, custom: Mapping[str, float] | None, *, may_grow: bool
) -> TrialResources:
    """What a worker needs, checked against the connected cluster.

    Args:
        cpus: processors per worker.
        gpus: GPUs per worker; None for 1 where the cluster has any now, else 0.
        custom: Ray's custom resources.
        may_grow: whether the cluster may come to have what it lacks now.

    Raises:
        ConfigError: the cluster lacks something, and will not get it later.
    """
    has = cluster_resources()
    if cpus > has.get("CPU", 0.0) and not may_grow:
        raise ConfigError(
            f"search.cpus_per_trial: {cpus:g} requested, but this Ray has {has.get('CPU', 0.0):g} CPUs; "
            "request less, or give search.num_workers to share them"
        )
    if gpus is None:
        gpus = 1.0 if has.get("GPU", 0.0) else 0.0
    if gpus > has.get("GPU", 0.0) and not may_grow:
        raise ConfigError(
            f"search.gpus_per_trial: {gpus:g} requested, but this Ray has {has.get('GPU', 0.0):g} GPUs; "
            "use search.gpus_per_trial=0 to train on processors"
        )
    for name, amount in (custom or {}).items():
        if amount > has.get(name, 0.0) and not may_grow:
            raise ConfigError(
                f"search.resources_per_trial: {amount:g} {name} requested, but this Ray has "
                f"{has.get(name, 0.0):g}; a Ray of our own (search.ray_address=local) has no custom resources"
            )
    return TrialResources(cpus=cpus, gpus=gpus, custom=dict(custom or {}))


def cluster_resources() -> dict[str, float]:
    """What all nodes have together, by name: ``CPU``, ``GPU`` and so on."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def cluster_nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones too, as Ray lists them: NodeID, Alive, Resources and so on."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
