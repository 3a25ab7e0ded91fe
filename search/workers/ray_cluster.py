"""The Ray that a search runs on: connecting to it."""

from __future__ import annotations

import math
import os
import signal
from typing import Any

import ray
from ray.exceptions import RayError

from spinesearch.search.config.run_config import ConfigError
from spinesearch.search.workers.ray_head import check_head

_OBJECT_STORE_BYTES = 80 * 1024**2  # specs and metrics only; Ray's least


def check_address(address: str) -> None:
    """Check, within 5 s, that `connect` would find a Ray at this address.

    Raises:
        ConfigError: it would not; one line that says why and what to do.
    """
    if address != "local" and not ray.is_initialized():
        check_head(address)


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
    check_address(address)
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


def _num_cpus_here() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
