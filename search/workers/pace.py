"""How fast a candidate trains, measured by its worker and read by the driver where it takes long.

A worker that trains answers nothing else, so its pace lies in the key-value store of Ray's head: one small
entry per worker, written once per training and read only where a candidate exceeds what is usual.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_initialized,
    _internal_kv_put,
)

_NAMESPACE = b"spinesearch_pace"
# The first steps take memory, choose kernels and may compile; then a few are enough to know a factor of ten.
_FIRST_STEP, _LAST_STEP = 2, 6


class PaceMeter:
    """Measures the seconds per step of a training, once, a few steps after its beginning.

    Args:
        publish: called with the seconds per step.
        clock: seconds.
    """

    def __init__(self, publish: Callable[[float], None], clock: Callable[[], float] = time.perf_counter):
        self._publish = publish
        self._clock = clock
        self._since = 0.0
        self._last = -1
        self._num_before = 0

    def __call__(self, step: int) -> None:
        """A step is done; they rise from any number on, and from that again where a training starts over."""
        self._num_before = self._num_before + 1 if 0 <= self._last < step else 0
        self._last = step
        if self._num_before == _FIRST_STEP:
            self._since = self._clock()
        elif self._num_before == _LAST_STEP:
            self._publish((self._clock() - self._since) / (_LAST_STEP - _FIRST_STEP))


def publish_pace(trial: int, step_s: float) -> None:
    """Leave the seconds per step of a candidate for the driver; called by the worker, an actor."""
    context = ray.get_runtime_context()
    value = json.dumps([trial, step_s]).encode()
    _internal_kv_put(_key(context.get_job_id(), context.get_actor_id()), value, namespace=_NAMESPACE)


def read_pace(actor: Any, trial: int) -> float | None:
    """Seconds per step of the candidate that an actor trains; None if it has not got so far."""
    if not _has_store():
        return None
    try:
        value = _internal_kv_get(_key(_job_id(), actor._actor_id.hex()), namespace=_NAMESPACE)
    except RayError:  # the head is busy or gone
        return None
    if not value:
        return None
    of_trial, step_s = json.loads(value)
    return float(step_s) if of_trial == trial else None  # else it is that of the worker's last candidate


def forget_paces() -> None:
    """Remove what the workers of this process left."""
    if ray.is_initialized() and _has_store():
        _internal_kv_del(_key(_job_id(), ""), del_by_prefix=True, namespace=_NAMESPACE)


def _has_store() -> bool:
    """Whether this process reaches the store; another Ray that it started and ended takes it along."""
    return bool(_internal_kv_initialized())  # type: ignore[no-untyped-call]


def _job_id() -> str:
    return str(ray.get_runtime_context().get_job_id())


def _key(job_id: str, actor_id: str | None) -> bytes:
    return f"{job_id}/{actor_id}".encode()
