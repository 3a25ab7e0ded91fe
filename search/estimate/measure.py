"""A worker's pace, measured: a few real steps of a typical candidate, here or on the nodes of a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from spinesearch.data.data_settings import DataSettings
from spinesearch.data.open import ProxyData
from spinesearch.data.reopen import reopen_data
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.run_config import ConfigError, RunConfig
from spinesearch.search.estimate.pace import Pace
from spinesearch.search.scoring.constraints import limited
from spinesearch.search.scoring.proxy_score import few_held_out
from spinesearch.search.scoring.scorer import Score
from spinesearch.search.scoring.search_limits import search_limits
from spinesearch.space import ArchSpec, ResNetSpec, SearchSpace

_NUM_DRAWN = 101  # candidates, of which the one of median multiply-adds is measured
_NUM_WARMUP_STEPS = 3
_PATIENCE_S = 60.0  # that a node may take to find a place


def typical_candidate(space: SearchSpace, proxy_task: ProxySettings, seed: int) -> ArchSpec:
    """The candidate of median multiply-adds among 101 drawn uniformly from a space."""
    from spinesearch.proxy_task.model import network_cost_of

    random = np.random.default_rng(seed)
    drawn = [space.decode(space.sample(random)) for _ in range(_NUM_DRAWN)]
    drawn.sort(key=lambda spec: network_cost_of(spec, proxy_task, 1).multiply_adds)
    return drawn[_NUM_DRAWN // 2]


def measured_pace(
    config: RunConfig,
    data: ProxyData,
    *,
    num_steps: int,
    report: Callable[[str], None],
    begun: Run | None = None,
) -> tuple[Pace, int | None]:
    """The pace of a worker of this search, and how many workers the cluster has room for if it has one.

    Args:
        config: of the search.
        data: of it.
        num_steps: that are measured.
        report: told in a line of what is done, and on a cluster of each node.
        begun: the run as far as it is; None for a new one.

    Raises:
        ConfigError: the candidate cannot be trained, or no node of the cluster can be used.
    """
    space = config.space.build()
    limits = search_limits(config, space, len(data.class_names), begun)
    chosen_from = space if limits is None else limited(space, limits)
    spec = typical_candidate(chosen_from, config.proxy_task, config.seed)
    if config.search.trains_here:
        from spinesearch.training.process.failures import OutOfMemory
        from spinesearch.training.step.divergence import TrainingDiverged

        report(f"measuring {num_steps} steps of a typical candidate here")
        device = "cpu" if config.gpus_per_worker == 0 else config.proxy_task.device
        try:
            metrics = _score(replace(config.proxy_task, device=device), data, num_steps)(spec, config.seed)
        except (TrainingDiverged, OutOfMemory) as error:
            raise ConfigError(
                f"proxy_task: a typical candidate cannot be trained with it: {error}"
            ) from error
        gpus = (config.gpus_per_worker or 1.0) if metrics["is_cuda"] else 0.0
        source = f"measured here: {num_steps} steps of a typical candidate"
        return _pace(metrics, len(data.scored.held_out_index), source, gpus), None
    return _cluster_pace(config, data, spec, num_steps=num_steps, report=report)


def open_timed(settings: ProxySettings, data: DataSettings, key: str, num_steps: int) -> Score:
    """A few steps of the proxy task with the time of each phase, opened by a worker.

    Raises:
        DataError: the data set cannot be opened there, or is not the one of ``key``.
    """
    opened = reopen_data(data, image_size=settings.image_size, key=key, masks=settings.needs_masks)
    return _score(settings, opened, num_steps)


def _score(settings: ProxySettings, data: ProxyData, num_steps: int) -> Score:
    from spinesearch.proxy_task.bench import bench_proxy

    few = data.scored_on(few_held_out(data.scored, max(settings.batch_size, 16)))

    def score(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        assert isinstance(spec, ArchSpec)
        result = bench_proxy(
            settings, few, spec, num_steps=num_steps, seed=seed, num_warmup_steps=_NUM_WARMUP_STEPS
        )
        evaluation_s = result.overhead["evaluation"]
        return {
            "images_per_s": result.images_per_s,
            "step_s": result.batch_size / result.images_per_s,
            "once_s": sum(result.overhead.values()) - evaluation_s,
            "evaluated_image_s": evaluation_s / len(few.scored.held_out_index),
            "is_cuda": float(result.device == "cuda"),
        }

    return score


def _pace(metrics: Mapping[str, Any], num_held_out: int, source: str, gpus: float) -> Pace:
    return Pace(
        step_s=metrics["step_s"],
        other_s=metrics["once_s"] + num_held_out * metrics["evaluated_image_s"],
        source=source,
        gpus_per_worker=gpus,
    )


def _cluster_pace(
    config: RunConfig,
    data: ProxyData,
    spec: ArchSpec,
    *,
    num_steps: int,
    report: Callable[[str], None],
) -> tuple[Pace, int]:
    """The mean over the cluster's workers, whose nodes are all measured at once."""
    from spinesearch.search.workers.cluster_check import check_nodes
    from spinesearch.search.workers.ray_cluster import connected
    from spinesearch.search.workers.trial_resources import cluster_nodes, trial_resources

    settings = config.search
    with connected(settings.ray_address, num_cpus=None):
        resources = trial_resources(
            settings.cpus_per_trial, config.gpus_per_worker, settings.resources_per_trial, may_grow=True
        )
        proxy_task = resources.placed(config.proxy_task)
        report(f"measuring {num_steps} steps of a typical candidate on each node; a worker needs {resources}")
        reports = check_nodes(
            cluster_nodes(),
            functools.partial(open_timed, proxy_task, config.data, data.key, num_steps),
            resources,
            spec=spec,
            seed=config.seed,
            patience_s=_PATIENCE_S,
            report=lambda node: report(f"{node.name}: {node.problem or 'measured'}"),
        )
    good = [node for node in reports if node.metrics]
    if not good:
        raise ConfigError(
            f"search.ray_address: no node of {settings.ray_address} can be used; `spinesearch cluster check` "
            "says more"
        )
    num_workers = sum(node.num_workers for node in good)
    mean = {
        name: sum(node.num_workers * float(node.metrics[name]) for node in good) / num_workers
        for name in good[0].metrics
    }
    nodes = "1 node" if len(good) == 1 else f"{len(good)} nodes"
    source = f"measured on {nodes} of {settings.ray_address}: {num_steps} steps of a typical candidate"
    pace = _pace(mean, len(data.scored.held_out_index), source, resources.gpus)
    return pace, num_workers
