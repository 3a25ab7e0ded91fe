"""The Ray that a search runs on: connecting to it."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from spinesearch.data.parallel import num_processors
from spinesearch.search.config.run_config import ConfigError
from spinesearch.search.workers.ray_head import check_head

_OBJECT_STORE_BYTES = 80 * 1024**2  # specs and metrics only; Ray's least
_TOKEN, _TOKEN_PATH, _AUTH_MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"
_LONGEST_SOCKET = 107  # bytes that Linux allows in the name of a socket


def check_address(address: str) -> None:
    """Check, within 5 s, that `connected` would find a Ray at this address.

    Raises:
        ConfigError: it would not; one line that says why and what to do.
    """
    if address != "local" and not ray.is_initialized():
        check_head(address)


@contextlib.contextmanager
def connected(address: str, *, num_cpus: float | None) -> Iterator[None]:
    """This process connected to Ray, inside; a Ray of our own ends with that.

    Args:
        address: ``local`` for a Ray of our own, ``auto`` for the cluster of this machine, or ``HOST:PORT``. A
            process that is connected already stays so, afterwards too.
        num_cpus: processors that a Ray of our own must offer, even if the machine has fewer; None for what
            Ray finds.

    Raises:
        ConfigError: nobody listens at the address, or the cluster refuses.
    """
    if ray.is_initialized():
        yield
        return
    _connect(address, num_cpus)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str, num_cpus: float | None) -> None:
    check_address(address)
    # Workers without a GPU of their own use the CPU, so Ray need not hide GPUs; unset, it warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address == "local":
            _set_token()
            ray.init(
                address="local",
                num_cpus=None if num_cpus is None else max(num_processors(), math.ceil(num_cpus)),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        if address == "local" and (folder_reason := _folder_reason(error)):
            raise ConfigError(folder_reason) from error
        raise ConfigError(f"search.ray_address: Ray cannot be used at {address!r}: {reason}") from error
    if callable(on_sigterm):  # Ray has put its own in place, which ends the process on the spot
        signal.signal(signal.SIGTERM, on_sigterm)


def _set_token() -> None:
    """Give a Ray of our own a token by the environment, unless somebody chose how it is to be protected.

    Otherwise Ray writes one to the home folder, which a container's user may not have; and from then on a
    head started on this machine demands it. It stays in the environment, as do Ray's own marks: a Ray that
    this process starts later needs it again.
    """
    if not any(os.environ.get(name) for name in (_TOKEN, _TOKEN_PATH, _AUTH_MODE)):
        os.environ[_TOKEN] = secrets.token_hex(32)


def _folder_reason(error: Exception) -> str:
    """What is wrong with the folder of a Ray of our own, and what to do; empty if that is not the fault."""
    from ray._common.utils import get_default_ray_temp_dir

    folder = get_default_ray_temp_dir()  # type: ignore[no-untyped-call]
    named = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "the default")
    advice = "set RAY_TMPDIR to a short path of a local folder that you can write to, as in /tmp/ME"
    if "AF_UNIX path length" in str(error):
        return (
            f"RAY_TMPDIR: {folder} (from {named}) is too long for Ray's sockets, whose names in it may have "
            f"at most {_LONGEST_SOCKET} characters; {advice}"
        )
    if isinstance(error, OSError) and str(error.filename or "").startswith(folder):
        reason = f"{error.strerror}: {error.filename}"
        return f"RAY_TMPDIR: Ray cannot use {folder} (from {named}): {reason}; {advice}"
    return ""
