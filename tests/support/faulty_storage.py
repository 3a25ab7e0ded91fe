"""Storage in memory for mirrors, which fails on request."""

from collections.abc import Callable
from pathlib import Path

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.search.runs.mirror import Mirror


class FaultyFileSystem(MemoryFileSystem):
    """Memory whose writes go wrong as `fault` says: with the path and bytes it may store some and raise."""

    protocol = "faulty"
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    fault: Callable[[str, bytes], None] | None = None

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if FaultyFileSystem.fault is not None:
            FaultyFileSystem.fault(path, value)
        super().pipe_file(path, value, mode=mode, **kwargs)


fsspec.register_implementation("faulty", FaultyFileSystem)


def empty_storage() -> None:
    """Nothing is stored and nothing fails."""
    for cls in (MemoryFileSystem, FaultyFileSystem):
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
    FaultyFileSystem.fault = None


def ignore(line: str) -> None:
    pass


def bytes_of(run_dir: Path) -> bytes:
    return (run_dir / LEDGER_NAME).read_bytes()


def pull(mirror: Mirror, run_dir: Path, report: Callable[[str], None] = ignore) -> None:
    theirs = mirror.read()
    with Ledger(run_dir) as ledger:
        mirror.pull(ledger, theirs, run_dir, report)
