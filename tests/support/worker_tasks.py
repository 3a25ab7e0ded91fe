"""Proxy tasks for tests of the Ray engine; importable by the workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from fake_scorer import fake_score

from spinesearch.search.scoring.scorer import Score
from spinesearch.space import ArchSpec


def open_fake() -> Score:
    return fake_score


def open_slow(seconds: float) -> Score:
    """Scores as the fake does, after sleeping."""

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        time.sleep(seconds)
        return fake_score(spec, seed)

    return score


def open_fragile(folder: Path, deaths: int) -> Score:
    """Its process is killed in the middle of the first ``deaths`` candidates, as when memory runs out."""

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        for i in range(deaths):
            try:
                (folder / f"death-{i}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), 9)
        return fake_score(spec, seed)

    return score


def open_deadly() -> Score:
    """Kills its process at one network in five, every time."""

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        if int(spec.arch_id, 16) % 5 == 0:
            os.kill(os.getpid(), 9)
        return fake_score(spec, seed)

    return score


def open_counted(folder: Path) -> Score:
    """Leaves a file for every opening, and one for every candidate scored."""
    (folder / f"open-{os.getpid()}-{time.time_ns()}").touch()

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        (folder / f"score-{spec.arch_id}-{time.time_ns()}").touch()
        return fake_score(spec, seed)

    return score


def open_nothing() -> Score:
    raise FileNotFoundError("data.train_images: no folder /nowhere on this node")


def open_once(folder: Path) -> Score:
    """The first worker opens it, the others cannot."""
    try:
        (folder / "opened").touch(exist_ok=False)
    except FileExistsError:
        raise FileNotFoundError("no data on this node") from None
    return fake_score


def open_lost(folder: Path, deaths: int) -> Score:
    """Its device is lost in the middle of the first ``deaths`` candidates."""

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        for i in range(deaths):
            try:
                (folder / f"loss-{i}").touch(exist_ok=False)
            except FileExistsError:
                continue
            from spinesearch.training.process.failures import DeviceLost

            raise DeviceLost("device cuda:0 is lost: AcceleratorError: illegal memory access")
        return fake_score(spec, seed)

    return score


def open_killed() -> Score:
    """Kills its process at every candidate."""

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        os.kill(os.getpid(), 9)
        raise AssertionError

    return score


def open_frozen(folder: Path, times: int) -> Score:
    """Its process is stopped, and never continued, in the middle of the first candidates."""

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        for i in range(times):
            try:
                (folder / f"freeze-{i}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGSTOP)
        return fake_score(spec, seed)

    return score


class Stepped:
    """Scores as the fake does, after some training steps and some time: a `SteppedScore`."""

    def __init__(self, steps: int, step_s: float, seconds: float) -> None:
        self._steps, self._step_s, self._seconds = steps, step_s, seconds
        self.on_step: Callable[[int], None] = lambda step: None

    def __call__(self, spec: ArchSpec, seed: int) -> dict[str, float]:
        for step in range(self._steps):
            time.sleep(self._step_s)
            self.on_step(step)
        time.sleep(self._seconds)
        return fake_score(spec, seed)


def open_stepped(*, steps: int, step_s: float, seconds: float) -> Score:
    return Stepped(steps, step_s, seconds)


def open_dead() -> Score:
    """Its process does not live to open it."""
    os.kill(os.getpid(), 9)
    return fake_score


def open_rated() -> Score:
    """Reports a rate, of which the first is the lowest, as it is of real proxy tasks."""
    rates = iter((1.0, 100.0))

    def score(spec: ArchSpec, seed: int) -> dict[str, float]:
        return {"images_per_s": next(rates)}

    return score
