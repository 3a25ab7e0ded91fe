"""Where a measurement was made: machine, versions, command. No figure is worth anything without."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path


def machine() -> str:
    """This machine in words: processor, how many of them this process may use, and its GPU if it has one."""
    import torch

    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{_processor()}, {num_cpus} {'core' if num_cpus == 1 else 'cores'}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> str:
    """What was installed, as far as it decides scores and speed."""
    import torch

    from spinesearch import __version__

    return f"spinesearch {__version__}, torch {torch.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    """The processor's name; the architecture's where the system does not name it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(names, "").split()) or platform.processor() or platform.machine()


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeVersion:
    """The code that a process scores with.

    Attributes:
        version: of spinesearch.
        sources: digest of its Python files, which distinguishes two checkouts of one version.
        torch: version of torch.
    """

    version: str
    sources: str
    torch: str


def code_version() -> CodeVersion:
    """The code of this process, as its files are now. Imports neither torch nor anything of ours."""
    import spinesearch

    root = Path(spinesearch.__file__).parent
    digest = hashlib.sha256()
    # The packages may be links, which a search from above would not follow.
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()]
    files = [(root, path) for path in sorted(root.glob("*.py"))]
    files += [(folder, path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    for folder, path in files:
        name = path.relative_to(folder).as_posix()
        digest.update(f"{folder.name}/{name}\0".encode() + path.read_bytes() + b"\0")
    return CodeVersion(
        version=spinesearch.__version__,
        sources=digest.hexdigest()[:12],
        torch=importlib.metadata.version("torch"),
    )
