"""The processors that there are, and work spread over threads, where it releases the interpreter's lock."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_THREADS = 8  # of `in_parts`: one decodes about 1,000 images of 512 px a second (docs/data.md)
_AHEAD = 4  # items begun per thread, so that none waits while results are written


def num_processors() -> int:
    """Processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """What the processor calls itself; the architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int
) -> Generator[Result, None, None]:
    """The function's results, in the order of the items; some items ahead of the next are begun.

    Closing the iterator, which an exception of the function does too, waits for what is begun and no more.
    """
    pool = ThreadPoolExecutor(num_threads)
    try:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= _AHEAD * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_parts(
    work: Callable[[npt.NDArray[np.int64], npt.NDArray[Any]], object],
    index: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    *,
    num_threads: int,
) -> None:
    """Do ``work(index, out)`` by parts of both, on several threads at once.

    Args:
        work: fills a part of ``out`` from the same part of ``index``.
        index: `[B]`.
        out: `[B, ...]`.
        num_threads: at most `MAX_THREADS`.
    """
    num_parts = min(len(index), num_threads)
    if num_parts <= 1:
        work(index, out)
        return
    list(_pool().map(work, np.array_split(index, num_parts), np.array_split(out, num_parts)))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="in-parts")  # starts them as they are needed
