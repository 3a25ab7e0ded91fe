"""The Ray that a search runs on: connecting to it, and what has room there."""

from __future__ import annotations

import math
import os
import signal
from typing import Any

import ray
from ray.exceptions import RayError

from spinesearch.search.config import ConfigError
from spinesearch.search.ray_head import check_head

_OBJECT_STORE_BYTES = 80 * 1024**2  # specs and metrics only; Ray's least


def connect(address: str, *, num_cpus: float | None) -> bool:
    """Connect this process to Ray.

    Args:
        address: ``local`` for a Ray of our own, ``auto`` for the cluster of this machine, or ``HOST:PORT``. A
            process that is connected already stays so.
        num_cpus: processors that a Ray of our own must offer, even if the machine has fewer; None for what
            Ray finds.

    Returns:
        Whether a connection was made, so that `disconnect` should end it.

    Raises:
        ConfigError: nobody listens at the address, or the cluster refuses.
    """
    if ray.is_initialized():
        return False
    if address != "local":
        check_head(address)
    # Workers without a GPU of their own are told to use the CPU, so Ray need not hide GPUs; unset, it warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address == "local":
            ray.init(
                address="local",
                num_cpus=None if num_cpus is None else max(_num_cpus_here(), math.ceil(num_cpus)),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"search.ray_address: Ray cannot be used at {address!r}: {reason}") from error
    if callable(on_sigterm):  # Ray has put its own in place, which ends the process on the spot
        signal.signal(signal.SIGTERM, on_sigterm)
    return True


def disconnect() -> None:
    """Leave Ray; one of our own ends with that."""
    ray.shutdown()


def resources_per_trial(cpus: float, gpus: float | None) -> tuple[float, float]:
    """Processors and GPUs of one worker on the connected cluster.

    Args:
        cpus: processors per worker.
        gpus: GPUs per worker; None for 1 where the cluster has any, else 0.

    Raises:
        ConfigError: more GPUs are asked for than the cluster has.
    """
    available = cluster_resources().get("GPU", 0.0)
    if gpus is None:
        return cpus, 1.0 if available else 0.0
    if gpus > available:
        raise ConfigError(
            f"search.gpus_per_trial: {gpus:g} asked for, but this Ray has {available:g} GPUs; "
            "use search.gpus_per_trial=0 to train on processors"
        )
    return cpus, gpus


def workers_that_fit(cpus: float, gpus: float) -> int:
    """How many workers the connected cluster has room for, at least 1."""
    resources = cluster_resources()
    fits = int(resources.get("CPU", 1.0) / cpus + 1e-6)
    if gpus:
        fits = min(fits, int(resources.get("GPU", 0.0) / gpus + 1e-6))
    return max(1, fits)


def cluster_resources() -> dict[str, float]:
    """What all nodes have together, by name: ``CPU``, ``GPU`` and so on."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def _num_cpus_here() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
