"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

_OBJECT_STORE_BYTES = 80 * 1024**2  # Ray's least


class Nodes:
    """A cluster whose head offers one processor, and nodes to be added and killed.

    Attributes:
        address: the head's.
        environ: what processes of the cluster have in their environment.
    """

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        support = str(Path(__file__).parent)
        self.environ = {
            "PYTHONPATH": os.pathsep.join(filter(None, [support, os.environ.get("PYTHONPATH", "")])),
            "RAY_AUTH_MODE": "disabled",
            "RAY_worker_niceness": "0",  # 15 otherwise: on a busy machine workers would hardly begin
            "RAY_TMPDIR": folder,  # Ray notes in its subfolder `ray` which head of this machine is the newest
        }
        with mock.patch.dict(os.environ, self.environ):
            self._cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 1,
                    "object_store_memory": _OBJECT_STORE_BYTES,
                    "include_dashboard": False,
                    "include_log_monitor": False,
                    "temp_dir": f"{folder}/ray",
                },
            )
        self.address: str = self._cluster.address

    def add(self, **resources: Any) -> Any:
        """A new node, when the head knows it; ``num_cpus``, ``num_gpus``, ``resources`` as Ray takes them."""
        with mock.patch.dict(os.environ, self.environ):
            return self._cluster.add_node(object_store_memory=_OBJECT_STORE_BYTES, **resources)

    def kill(self, node: Any) -> None:
        """SIGKILL for all processes of a node."""
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_added(self) -> None:
        """Only the head is left."""
        for node in list(self._cluster.worker_nodes):
            self.kill(node)

    def shutdown(self) -> None:
        """End every process of the cluster."""
        self._cluster.shutdown()


@contextlib.contextmanager
def start_nodes() -> Iterator[Nodes]:
    """A cluster with a temporary folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # Ray's sockets need a short path
        nodes = Nodes(folder)
        try:
            yield nodes
        finally:
            nodes.shutdown()
            _restore_key_value_store()


def _restore_key_value_store() -> None:
    """Give this process's own Ray its store back, which a head that ends here takes along."""
    import ray
    from ray.experimental import internal_kv

    if ray.is_initialized() and not internal_kv._internal_kv_initialized():
        internal_kv._initialize_internal_kv(ray._private.worker.global_worker.gcs_client)
