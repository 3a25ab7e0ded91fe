"""Addresses where no Ray can be used, refused within seconds: false heads and other listeners."""

import http.server
import json
import platform
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import ray

from spinesearch.search.config.run_config import ConfigError
from spinesearch.search.workers import ray_head
from spinesearch.search.workers.ray_head import check_head

HERE = {"ray_version": ray.__version__, "python_version": platform.python_version()}
TOKEN = "6f8c1c3e-58f4-4d41-9bd2-0f5c8e2f6a11"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path: Path):
    """No cluster, no token and no node but those of a test."""
    from ray._private import services

    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: frozenset())
    monkeypatch.setattr(services, "find_node_ids", lambda: {"a node"})
    monkeypatch.setattr(
        services, "is_localhost", lambda host: False
    )  # listeners of these tests are nowhere else
    from ray._private.authentication import authentication_utils

    monkeypatch.setattr(authentication_utils, "is_token_auth_enabled", lambda: False)


def refused(address: str) -> str:
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        check_head(address)
    assert time.monotonic() - started < 5
    line = str(caught.value)
    assert line.startswith("search.ray_address: ")
    assert "\n" not in line
    return line


@pytest.fixture
def listen() -> Iterator[Callable[..., int]]:
    """Starts a TCP server that does something with each connection; gives its port."""
    sockets = []

    def listen(serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> int:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = socket.create_server((host, 0), family=family)
        sockets.append(server)

        def accept() -> None:
            kept = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for server in sockets:
        server.close()


@pytest.fixture
def head() -> Iterator[Callable[..., int]]:
    """Starts what answers as a head does: with its versions, and only to those who have its token."""
    servers = []

    def head(
        metadata: dict[str, str] | None = HERE, token: str | None = None, host: str = "127.0.0.1"
    ) -> int:
        from ray.core.generated import gcs_service_pb2 as messages

        def get(request, context):
            sent = dict(context.invocation_metadata())
            if token is not None and sent.get("authorization") != f"Bearer {token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            assert (request.key, request.namespace) == (b"CLUSTER_METADATA", b"cluster")
            value = b"" if metadata is None else json.dumps(metadata).encode()
            return messages.InternalKVGetReply(value=value)

        handler = grpc.unary_unary_rpc_method_handler(
            get,
            request_deserializer=messages.InternalKVGetRequest.FromString,
            response_serializer=messages.InternalKVGetReply.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler(
            "ray.rpc.InternalKVGcsService", {"InternalKVGet": handler}
        )
        server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[service])
        port = server.add_insecure_port(f"{host}:0")
        server.start()
        servers.append(server)
        return port

    yield head
    for server in servers:
        server.stop(None).wait()


def write_token(text: str) -> None:
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text(text)


@pytest.mark.parametrize(
    "address",
    [
        *("nonsense", "host:", ":6379", "host:0", "host:65536", "host:port", "host:1:2", "http://host:8265"),
        *("::1:6379", "[::1]", "[::1]:", "[::1:6379", "host name:6379", "", " "),
    ],
)
def test_what_is_no_address(address: str):
    line = refused(address)
    assert f"no Ray at {address!r}: an address is local, auto or HOST:PORT, with an IPv6 host in" in line


def test_ray_client_is_refused_with_its_reason(monkeypatch):
    assert re.search(
        "'ray://head:10001' is Ray Client, which ends all workers when .* drops", refused("ray://head:10001")
    )
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert "'auto' (RAY_ADDRESS=ray://head:10001) is Ray Client" in refused("auto")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_where_nothing_listens(host: str):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    line = refused(f"{host}:{port}")
    assert f"no Ray at '{host}:{port}': nothing listens there, connection refused; start one with" in line


def test_a_host_that_does_not_exist():
    assert "its host name cannot be resolved" in refused("no-such-host.invalid:6379")


def test_what_listens_there_is_something_else(listen):
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    for serve in (speak, lambda connection: connection.close()):
        assert "what listens there is not a Ray head" in refused(f"127.0.0.1:{listen(serve)}")
    server = grpc.server(futures.ThreadPoolExecutor(1))  # speaks Ray's protocol, and has no such service
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert "what listens there is not a Ray head" in refused(f"127.0.0.1:{port}")
    server.stop(None).wait()


def test_a_web_server_is_no_head(capsys):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert "what listens there is not a Ray head" in refused(f"127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_one_that_never_answers(listen, monkeypatch):
    monkeypatch.setattr(ray_head, "_TIMEOUT_S", 0.3)
    assert "no answer within 0.3 s" in refused(f"127.0.0.1:{listen(lambda connection: None)}")
    assert ray_head._NODE_PATIENCE_S < 5


def test_auto_with_nothing_running():
    assert "no Ray at 'auto': Could not find any running Ray instance" in refused("auto")


def test_auto_where_the_last_head_is_dead(tmp_path: Path, head):
    """`ray start` leaves a file that names its head, also when that is killed."""
    port = head()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
    check_head("auto")
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    assert "no Ray at 'auto' (127.0.0.1:9): nothing listens there" in refused("auto")


def test_auto_is_the_address_of_the_environment(monkeypatch, head):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{head()}")
    check_head("auto")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert "no Ray at 'auto' (127.0.0.1:9): nothing listens there" in refused("auto")
    check_head(f"127.0.0.1:{head()}")  # what was given counts


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_head_is_accepted_by_ipv4_and_ipv6(host: str, head):
    check_head(f"{host}:{head(host=host)}")
    check_head(f"{host}:{head(None, host=host)}")  # it is just starting


@pytest.mark.parametrize("key", ["ray_version", "python_version"])
def test_a_head_of_other_versions(key: str, head):
    line = refused(f"127.0.0.1:{head(HERE | {key: '2.1.0'})}")
    assert "2.1.0" in line
    assert f"this process Ray {ray.__version__} on Python {platform.python_version()}" in line
    assert line.endswith("install the same versions on both")


def test_a_machine_that_is_no_node(monkeypatch, head):
    from ray._private import services

    monkeypatch.setattr(services, "find_node_ids", set)
    monkeypatch.setattr(ray_head, "_NODE_PATIENCE_S", 0.2)
    port = head()
    line = refused(f"127.0.0.1:{port}")
    assert "is not a node of its cluster; run the command on one that is" in line
    assert line.endswith(f"or join by `ray start --address=127.0.0.1:{port}`")


def test_a_head_that_demands_a_token_nobody_has(head, tmp_path: Path):
    line = refused(f"127.0.0.1:{head(token=TOKEN)}")
    assert "demands its token, and there is none here; copy the head's ~/.ray/auth_token to" in line
    assert f"{tmp_path}/.ray/auth_token here and set RAY_AUTH_MODE=token" in line
    assert "RAY_AUTH_MODE=disabled" in line


def test_a_token_that_lies_here_is_not_sent_to_any_address(head):
    """As in Ray, which looks for a token by itself only for a cluster that it finds by itself."""
    write_token(TOKEN)
    line = refused(f"127.0.0.1:{head(token=TOKEN)}")
    assert "this process sends none; set RAY_AUTH_MODE=token" in line


def test_auto_sends_the_token_that_lies_here(head, tmp_path: Path, monkeypatch):
    port = head(token=TOKEN)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
    assert "there is none here" in refused("auto")
    write_token("another")
    assert "and the one here is another" in refused("auto")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    check_head("auto")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "elsewhere").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    check_head("auto")
