"""Where a measurement was made: machine, versions, command. No figure is worth anything without."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spinesearch.data.parallel import num_processors, processor_name

# What a score is computed with: no other package is imported by these (tests/test_layering.py).
SCORING_PACKAGES = ("data", "models", "proxy_task", "space", "training")


def machine() -> str:
    """This machine in words: processor, how many of them this process may use, and its GPU if it has one."""
    import torch

    num_cpus = num_processors()
    parts = [f"{' '.join(processor_name().split())}, {num_cpus} {'core' if num_cpus == 1 else 'cores'}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> str:
    """What was installed, as far as it decides scores and speed."""
    import torch

    from spinesearch import __version__

    return f"spinesearch {__version__}, torch {torch.__version__}, Python {platform.python_version()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeVersion:
    """The code that a process scores with.

    Attributes:
        version: of spinesearch.
        sources: digest of its Python files, which distinguishes two checkouts of one version.
        scoring_sources: digest of those alone that a score can depend on, see `SCORING_PACKAGES`.
        torch: version of torch.
    """

    version: str
    sources: str
    scoring_sources: str
    torch: str


def code_version() -> CodeVersion:
    """The code of this process, as its files are now. Imports neither torch nor anything of ours."""
    import spinesearch

    root = Path(spinesearch.__file__).parent
    # The packages may be links, which a search from above would not follow.
    packages = [path for path in sorted(root.iterdir()) if path.is_dir()]
    return CodeVersion(
        version=spinesearch.__version__,
        sources=_digest([(root, sorted(root.glob("*.py"))), *_files(packages)]),
        scoring_sources=_digest(_files([root / name for name in SCORING_PACKAGES])),
        torch=importlib.metadata.version("torch"),
    )


def _files(folders: Sequence[Path]) -> list[tuple[Path, list[Path]]]:
    """The Python files of each folder, with it."""
    return [(folder, sorted(folder.rglob("*.py"))) for folder in folders]


def _digest(files: Sequence[tuple[Path, list[Path]]]) -> str:
    """Of the names and contents of files, each list with the folder its names are relative to."""
    digest = hashlib.sha256()
    for folder, paths in files:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{folder.name}/{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def code_difference(ours: CodeVersion, theirs: CodeVersion) -> str:
    """How a worker's code differs from the driver's, torch apart, and what to do; empty if it does not."""
    if ours.version != theirs.version:
        return (
            f"it has spinesearch {theirs.version}, this search runs {ours.version}; "
            "install the same release there"
        )
    if ours.sources != theirs.sources:
        return (
            f"its spinesearch {theirs.version} has other sources (digest {theirs.sources}, here "
            f"{ours.sources}); check out the same commit there, or resume if the files here were edited since"
        )
    return ""
