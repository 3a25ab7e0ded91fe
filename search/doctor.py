"""What a search needs of this machine and package, and what there is: `examine`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from spinesearch.data.cache import default_cache_dir
from spinesearch.data.errors import DataError
from spinesearch.search.environment import machine

_GIB = 2**30
# Rules of thumb for a small search on one machine, not measurements; below them there is a note.
_LEAST_MEMORY = 2 * _GIB
_LEAST_DISK = _GIB
_LEAST_SHM = 128 * 2**20  # the least that Ray's object store takes is 75 MiB, and docker gives 64
# Extras, with what each is for.
_EXTRAS = {
    "jpeg": "decodes data.storage=jpeg faster than Pillow",
    "onnx": "writes export --format onnx",
    "tensorflow": "reads the authors' checkpoints",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: it.
        state: ``missing`` where no search can run without, ``note`` where one runs all the same.
        found: what there is.
        advice: what to do; empty if nothing.
    """

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    advice: str = ""


def examine(runs_dir: Path) -> Iterator[Finding]:
    """What there is, one by one: torch and Ray, which take seconds to import, last.

    Args:
        runs_dir: where runs are to go.
    """
    python = f"{platform.python_version()}, {sys.executable}"
    yield Finding(what="Python", state="ok", found=python)  # pip installs nothing of ours on an older one
    yield from _packages()
    yield from _extras()
    yield _decoders()
    yield _memory()
    yield _shared_memory()
    yield _folder("runs", runs_dir, "runs_dir=DIR")
    with contextlib.suppress(DataError):  # no home folder
        yield _folder("cache", default_cache_dir(), "data.cache_dir=DIR or SPINESEARCH_CACHE")
    yield from _torch()
    yield _imported("ray")


def _packages() -> Iterator[Finding]:
    """The packages that this one requires: one finding for each that is missing, one for the rest."""
    needed = _required("")
    num_good = 0
    for one in needed:
        version = _version(one.name)
        if version is not None and one.specifier.contains(version, prereleases=True):
            num_good += 1
            continue
        found = "not installed" if version is None else f"{version}, and {one.specifier} is needed"
        advice = f"pip install '{one.name}{one.specifier}'"
        yield Finding(what=one.name, state="missing", found=found, advice=advice)
    found = f"spinesearch {_version('spinesearch')}, {num_good} of {len(needed)} that it requires"
    yield Finding(what="packages", state="ok", found=found)


def _extras() -> Iterator[Finding]:
    always = {one.name for one in _required("")}
    for extra, purpose in _EXTRAS.items():
        absent = [one.name for one in _required(extra) if one.name not in always and not _version(one.name)]
        yield Finding(
            what=f"extra {extra}",
            state="note" if absent else "ok",
            found=f"{'without ' + ', '.join(absent) if absent else 'installed'}; {purpose}",
            advice=f"if wanted: pip install 'spinesearch[{extra}]'" if absent else "",
        )


def _required(extra: str) -> list[Requirement]:
    """What this package requires here, with an extra."""
    required = [Requirement(text) for text in importlib.metadata.requires("spinesearch") or ()]
    return [one for one in required if one.marker is None or one.marker.evaluate({"extra": extra})]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _decoders() -> Finding:
    try:
        from PIL import features
    except ImportError:
        return Finding(what="decoders", state="missing", found="no Pillow", advice="pip install pillow")
    codecs = {name: features.check(name) for name in ("jpg", "zlib", "webp")}
    absent = [name for name in ("jpg", "zlib") if not codecs[name]]
    found = f"Pillow {_version('pillow')} with {', '.join(name for name, there in codecs.items() if there)}"
    if absent:
        advice = "reads no JPEG or PNG: pip install --force-reinstall pillow"
        return Finding(what="decoders", state="missing", found=found, advice=advice)
    turbo = " (libjpeg-turbo)" if features.check("libjpeg_turbo") else ""
    fast = " and simplejpeg" if _version("simplejpeg") else ""
    return Finding(what="decoders", state="ok", found=f"{found}{turbo}{fast}")


def _memory() -> Finding:
    total, available = _memory_bytes()
    if total is None or available is None:
        return Finding(what="memory", state="note", found="not known on this system")
    found = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if available < _LEAST_MEMORY:
        advice = "end other programs, or train with search.engine=serial, which needs no Ray"
        return Finding(what="memory", state="note", found=found, advice=advice)
    return Finding(what="memory", state="ok", found=found)


def _memory_bytes() -> tuple[int | None, int | None]:
    """All of it and what is free, within a container's limit."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # no Linux
        return None, None
    sizes = {name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    with contextlib.suppress(OSError, ValueError):  # no limit: "max"
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def _shared_memory() -> Finding:
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return Finding(what="/dev/shm", state="note", found="none on this system")
    found = f"{free / _GIB:.2f} GiB free"
    if free < _LEAST_SHM:
        advice = "Ray keeps its objects on disk then, more slowly; docker run --shm-size=1g gives more"
        return Finding(what="/dev/shm", state="note", found=found, advice=advice)
    return Finding(what="/dev/shm", state="ok", found=found)


def _folder(what: str, folder: Path, setting: str) -> Finding:
    """Whether a folder, or the one it would be made in, can be written, and how much room it has."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{folder}: {free / _GIB:.1f} GiB free"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        advice = f"{there} cannot be written; give {setting}"
        return Finding(what=what, state="missing", found=found, advice=advice)
    if free < _LEAST_DISK:
        return Finding(what=what, state="note", found=found, advice=f"make room, or give {setting}")
    return Finding(what=what, state="ok", found=found)


def _torch() -> Iterator[Finding]:
    """Torch, and the processors and GPUs that it trains on."""
    imported = _imported("torch")
    yield imported
    if imported.state == "missing":
        return
    import torch

    yield Finding(what="processor", state="ok", found=machine())
    driver = _driver()
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = ", ".join(f"{d.name} {d.total_memory / _GIB:.0f} GiB" for d in devices)
        yield Finding(
            what="GPU", state="ok", found=f"{found}; torch has {built}, driver {driver or 'unknown'}"
        )
        yield _kernels()
        return
    advice = ""
    if driver and torch.version.cuda is None:
        advice = "there is a driver, but this torch has no CUDA: install a build that has (pytorch.org)"
    elif driver:
        advice = "there is a driver, but torch sees no GPU: is it too old for this CUDA, or hidden?"
    found = f"none seen, the processor trains; torch has {built}, driver {driver or 'none'}"
    yield Finding(what="GPU", state="note" if advice else "ok", found=found, advice=advice)


def _kernels() -> Finding:
    """What Triton compiles targets and loss with; a worker that lacks it says so in its own log alone."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or "clang"  # as Triton looks for it
    there = {
        "triton": importlib.util.find_spec("triton") is not None,
        "C compiler": shutil.which(compiler) is not None,
        "Python.h": (Path(sysconfig.get_paths()["include"]) / "Python.h").exists(),
    }
    absent = ", ".join(name for name, is_there in there.items() if not is_there)
    if not absent:
        return Finding(what="kernels", state="ok", found="targets and loss can be compiled by Triton")
    return Finding(
        what="kernels",
        state="note",
        found=f"targets and loss run in their plain forms, which are slower: there is no {absent}",
        advice="apt-get install gcc libc6-dev python3-dev, or pip install triton, whichever it is",
    )


def _driver() -> str:
    """The version of NVIDIA's kernel module; empty without one."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return ""
    return next((word for word in first.split() if word[:1].isdigit() and "." in word), "unknown")


def _imported(package: str) -> Finding:
    """Whether a package, which may be installed and broken, can be imported."""
    if importlib.util.find_spec(package) is None:
        advice = f"pip install {package}, in the release that constraints.txt names"
        return Finding(what=package, state="missing", found="not installed", advice=advice)
    try:
        module = importlib.import_module(package)
    except Exception as error:  # of whatever its libraries raise
        reason = " ".join(str(error).split())[:200]
        advice = f"pip install --force-reinstall {package}"
        return Finding(what=package, state="missing", found=f"cannot be imported: {reason}", advice=advice)
    return Finding(what=package, state="ok", found=str(module.__version__))
