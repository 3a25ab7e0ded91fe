"""Whether a Ray head answers at an address, asked before Ray is: Ray tries for 40 to 100 s, then aborts."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

import grpc
import ray
from ray.exceptions import RayError

from spinesearch.search.config.run_config import ConfigError

_TIMEOUT_S = 4.0  # with looking up the address less than the 5 s that a mistyped one may cost
_NODE_PATIENCE_S = 3.0  # a node that was started with this command may not be up yet
_AUTH_MODE = "RAY_AUTH_MODE"
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]+):(\d{1,5})")
_START = "start one with `ray start --head`, or use search.ray_address=local"


def check_head(address: str) -> None:
    """Check that the head of a Ray cluster listens at an address and would take this process.

    Args:
        address: ``auto`` or ``HOST:PORT``, an IPv6 host in brackets.

    Raises:
        ConfigError: it does not; one line that says why and what to do.
    """
    asked = address
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address  # as in `ray.init`
    if address != "auto":
        _check_form(address, repr(asked) if address == asked else f"{asked!r} (RAY_ADDRESS={address})")
    target = _resolved(address)
    name = repr(asked) if target == asked else f"{asked!r} ({target})"
    metadata = _head_metadata(address, target, name)
    if metadata is not None:
        _check_versions(name, metadata)
    _check_node_here(target, name)


def _check_form(address: str, name: str) -> None:
    if address.startswith("ray://"):
        raise ConfigError(
            f"search.ray_address: {name} is Ray Client, which ends all workers when its "
            "connection drops; run the command on a machine of the cluster, as `ray job submit` does, with "
            "search.ray_address=auto or the head's own HOST:PORT (6379 unless chosen)"
        )
    match = _HOST_PORT.fullmatch(address)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ConfigError(
            f"search.ray_address: no Ray at {name}: an address is local, auto or HOST:PORT, "
            f"with an IPv6 host in brackets; {_START}"
        )


def _resolved(address: str) -> str:
    """What `ray.init` would connect to: this machine's cluster, and for localhost this machine's IP."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        target = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError) as error:
        target, reason = None, " ".join(str(error).split())
    else:
        reason = "no running Ray was found on this machine"
    if target is None:
        raise ConfigError(f"search.ray_address: no Ray at {address!r}: {reason}; {_START}")
    return str(target)


def _head_metadata(address: str, target: str, name: str) -> dict[str, str] | None:
    """What the head says of its versions; None if it does not say, as while it is starting."""
    from ray._private.gcs_utils import create_gcs_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    # Where `ray.init` reads it too: ray/_private/node.py, check_version_info.
    messages: Any = gcs_service_pb2
    request = messages.InternalKVGetRequest(key=b"CLUSTER_METADATA", namespace=b"cluster")
    channel = create_gcs_channel(target)
    try:
        stub = gcs_service_pb2_grpc.InternalKVGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        reply = stub.InternalKVGet(request, timeout=_TIMEOUT_S, metadata=_token_metadata(address))
    except RayError as error:  # token mode without a token
        raise ConfigError(_unauthenticated(address, name)) from error
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ConfigError(_unauthenticated(address, name)) from error
        raise ConfigError(f"search.ray_address: no Ray at {name}: {_reason(error)}; {_START}") from error
    finally:
        channel.close()
    return json.loads(reply.value) if reply.value else None


def _reason(error: grpc.RpcError) -> str:
    code, details = error.code(), " ".join(str(error.details()).split())
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {_TIMEOUT_S:g} s (a firewall, or something else than a Ray head)"
    if "onnection refused" in details:
        return "nothing listens there, connection refused"
    if "DNS" in details or "resol" in details:
        return "its host name cannot be resolved"
    if code == grpc.StatusCode.UNAVAILABLE and any(
        word in details for word in ("route to host", "unreachable", "No such", "timed out", "Timeout")
    ):
        return f"it cannot be reached ({details.rpartition(': ')[2]})"
    return "what listens there is not a Ray head"


def _token_metadata(address: str) -> tuple[tuple[str, str], ...]:
    """The header that `ray.init` will come to send, where Ray does not add it to this call itself.

    Only for a cluster that it finds itself does Ray turn token authentication on when there is a token.
    """
    if address != "auto" or os.environ.get(_AUTH_MODE) is not None:
        return ()
    token = _token()
    return (("authorization", f"Bearer {token}"),) if token else ()


def _token_path() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def _token() -> str:
    """The token that Ray would use here, by its order of precedence; empty if there is none."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    try:
        return _token_path().read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _unauthenticated(address: str, name: str) -> str:
    """Why a head refuses this process, by what this process has."""
    refusal = f"search.ray_address: the head at {name} demands its token"
    restart = "or restart that head with RAY_AUTH_MODE=disabled (docs/cluster.md)"
    copy = f"copy the head's ~/.ray/auth_token to {_token_path()} here"
    if not _token():
        return f"{refusal}, and there is none here; {copy} and set {_AUTH_MODE}=token, {restart}"
    if os.environ.get(_AUTH_MODE, "").lower() != "token" and not _token_metadata(address):
        return f"{refusal}, and this process sends none; set {_AUTH_MODE}=token, {restart}"
    return f"{refusal}, and the one here is another; {copy}, {restart}"


def _check_versions(name: str, metadata: dict[str, str]) -> None:
    here = ray.__version__, platform.python_version()
    there = metadata["ray_version"], metadata["python_version"]
    if here != there:
        raise ConfigError(
            f"search.ray_address: the head at {name} runs Ray {there[0]} on Python {there[1]}, "
            f"this process Ray {here[0]} on Python {here[1]}; install the same versions on both"
        )


def _check_node_here(target: str, name: str) -> None:
    """Refuse a machine that is no node: a driver works through its machine's Ray, and waits 60 s for one."""
    from ray._private import services

    find_node_ids = getattr(services, "find_node_ids", None)  # not in every Ray that we run on
    if find_node_ids is None:
        return
    end = time.monotonic() + _NODE_PATIENCE_S
    while not find_node_ids():
        if time.monotonic() > end:
            raise ConfigError(
                f"search.ray_address: a head answers at {name}, but this machine is not a node of "
                f"its cluster; run the command on one that is, or join by `ray start --address={target}`"
            )
        time.sleep(0.2)
