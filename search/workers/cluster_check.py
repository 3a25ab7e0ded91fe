"""What each node of a cluster is worth to a search, asked there: versions, data, a short candidate's rate."""

from __future__ import annotations

import functools
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from spinesearch.data.data_settings import DataSettings
from spinesearch.data.reopen import reopen_data
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.environment import CodeVersion, code_difference, code_version
from spinesearch.search.scoring.proxy_score import few_held_out, proxy_score
from spinesearch.search.scoring.scorer import OpenScore, Score
from spinesearch.search.workers.trial_resources import TrialResources
from spinesearch.search.workers.worker_states import PoolTimes
from spinesearch.space import SPINENET_49, ArchSpec

_NUM_RUNS = 2  # the first warms up: memory is taken and kernels are chosen in it
_POLL_S = 0.5
# Once there is a place: for data as long as a search gives its workers, for a GPU's start less.
_PATIENCE_S = {"open": PoolTimes().open_s, "rate": 600.0}
_SILENCE = {
    "facts": "no place for a worker within {:g} s: busy, or it does not answer",
    "open": "its data were not open after {:g} s",
    "rate": "its short training did not end within {:g} s",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """What a node says of itself: its name, and the versions that a worker would run there."""

    host: str
    ray: str
    python: str
    code: CodeVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """What came of checking one node.

    Attributes:
        ip: its address.
        cpus: its processors, as Ray counts them.
        gpus: its GPUs, as Ray counts them.
        gpu_kind: their kind; empty if it has none or Ray does not know it.
        num_workers: workers that it has room for, were it empty.
        facts: what it says of itself; None if nothing ran there.
        sees_data: whether the proxy task could be opened there; None if that was not tried.
        images_per_s: training rate of one worker.
        metrics: of the short training, by name; empty if there was none.
        problem: why no worker of a search would do there; empty if one would, or none fits there.
    """

    ip: str
    cpus: float
    gpus: float
    gpu_kind: str
    num_workers: int
    facts: NodeFacts | None = None
    sees_data: bool | None = None
    images_per_s: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def name(self) -> str:
        """Host name and address, as far as they are known."""
        return f"{self.facts.host} ({self.ip})" if self.facts else self.ip


def open_short_score(settings: ProxySettings, data: DataSettings, data_key: str, num_steps: int) -> Score:
    """The proxy task cut short: a few steps of training, and one batch of held-out images.

    Raises:
        DataError: the data set cannot be opened here, or is not the one of ``data_key``.
    """
    opened = reopen_data(data, image_size=settings.image_size, key=data_key, masks=settings.needs_masks)
    short = replace(settings, num_steps=num_steps, num_epochs=None, bn_recalibration_batches=0, measure_at=())
    return proxy_score(short, opened.scored_on(few_held_out(opened.scored, settings.batch_size)))


class _Probe:
    """Runs on a node as a Ray actor, with what a worker of the search would occupy."""

    def __init__(self) -> None:
        self._score: Score | None = None

    def facts(self) -> NodeFacts:
        """Versions of this process."""
        return NodeFacts(
            host=socket.gethostname(),
            ray=ray.__version__,
            python=platform.python_version(),
            code=code_version(),
        )

    def open(self, open_score: OpenScore) -> None:
        """Open the proxy task."""
        self._score = open_score()

    def rate(self, spec: ArchSpec, seed: int) -> Mapping[str, Any]:
        """What a candidate's training measured; ``images_per_s`` is its rate."""
        assert self._score is not None
        for _ in range(_NUM_RUNS):
            metrics = self._score(spec, seed)
        return metrics


@dataclass(kw_only=True, slots=True)
class _Check:
    """One node's check while it runs.

    Attributes:
        report: what is known so far.
        stages: what is still to be asked, in order, by name; the first has been asked.
        answer: a reference to the answer to the first.
        patience_s: how long the answer may take.
        deadline: of the answer, by the monotonic clock.
    """

    report: NodeReport
    stages: list[tuple[str, Callable[[], Any]]]
    answer: Any
    patience_s: float
    deadline: float


def check_nodes(
    nodes: Sequence[Mapping[str, Any]],
    open_score: OpenScore,
    resources: TrialResources,
    *,
    spec: ArchSpec = SPINENET_49,
    seed: int,
    patience_s: float,
    report: Callable[[NodeReport], None],
) -> list[NodeReport]:
    """Ask all living nodes at once; a report for each, in their order.

    The process must be connected to Ray.

    Args:
        nodes: as `ray.nodes` lists them; dead ones are left out.
        open_score: opens the proxy task on a node; picklable.
        resources: of one worker. A node that has no room for one even if empty only reports its versions.
        spec: the candidate that is trained.
        seed: of the training.
        patience_s: how long a node may take to find a place for the check.
        report: called with each report as it is made.
    """
    here = code_version()
    alive = [node for node in nodes if node["Alive"]]
    reports: list[NodeReport | None] = [None] * len(alive)
    with _probes() as start:
        running = {
            i: start(node, open_score, resources, (spec, seed), patience_s) for i, node in enumerate(alive)
        }
        while running:
            ray.wait([check.answer for check in running.values()], timeout=_POLL_S)
            for i, check in list(running.items()):
                _advance(check, here)
                if not check.stages:
                    del running[i]
                    reports[i] = check.report
                    report(check.report)
    return [report for report in reports if report is not None]


@contextmanager
def _probes() -> Iterator[Callable[..., _Check]]:
    """A function that begins the check of a node; its actors end with the context."""
    actors = []

    def start(
        node: Mapping[str, Any],
        open_score: OpenScore,
        resources: TrialResources,
        trained: tuple[ArchSpec, int],
        patience_s: float,
    ) -> _Check:
        fits = resources.workers_that_fit([node])
        needs = resources if fits else TrialResources(cpus=0)
        options = needs.actor_options() | {
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        }
        actor: Any = ray.remote(_Probe).options(**options).remote()
        actors.append(actor)
        stages: list[tuple[str, Callable[[], Any]]] = [("facts", actor.facts.remote)]
        if fits:
            stages.append(("open", functools.partial(actor.open.remote, open_score)))
            stages.append(("rate", functools.partial(actor.rate.remote, *trained)))
        return _Check(
            report=_first_report(node, fits),
            stages=stages,
            answer=actor.facts.remote(),
            patience_s=patience_s,
            deadline=time.monotonic() + patience_s,
        )

    try:
        yield start
    finally:
        for actor in actors:
            ray.kill(actor)


def _first_report(node: Mapping[str, Any], num_workers: int) -> NodeReport:
    kinds = [name.partition(":")[2] for name in node["Resources"] if name.startswith("accelerator_type:")]
    return NodeReport(
        ip=node["NodeManagerAddress"],
        cpus=node["Resources"].get("CPU", 0.0),
        gpus=node["Resources"].get("GPU", 0.0),
        gpu_kind=", ".join(kinds),
        num_workers=num_workers,
    )


def _advance(check: _Check, here: CodeVersion) -> None:
    """Take the answer that has come and ask the next question, until one ends the check."""
    while check.stages:
        stage, _ = check.stages[0]
        ready, _ = ray.wait([check.answer], timeout=0)
        if not ready:
            if time.monotonic() > check.deadline:
                _end(check, _SILENCE[stage].format(check.patience_s))
            return
        try:
            answer = ray.get(check.answer)
        except RayError as error:
            if stage == "open" and isinstance(error, RayTaskError):  # not where the process died
                check.report = replace(check.report, sees_data=False)
            _end(check, _reason(error))
            return
        check.stages.pop(0)
        if stage == "facts":
            check.report = replace(check.report, facts=answer)
            # Where no worker fits, other code does no harm.
            if check.report.num_workers and (problem := code_difference(here, answer.code)):
                _end(check, problem)
        elif stage == "open":
            check.report = replace(check.report, sees_data=True)
        else:
            check.report = replace(check.report, images_per_s=float(answer["images_per_s"]), metrics=answer)
        if check.stages:
            stage, ask = check.stages[0]
            check.answer = ask()
            check.patience_s = _PATIENCE_S[stage]
            check.deadline = time.monotonic() + check.patience_s


def _end(check: _Check, problem: str) -> None:
    check.report = replace(check.report, problem=problem)
    check.stages.clear()


def _reason(error: RayError) -> str:
    """The cause of a failure in one line, without Ray's report around it."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, Exception):
        return f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())}"[:500]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = [line for line in lines if line.startswith(("ModuleNotFoundError", "ImportError"))]
    if missing:
        return f"{missing[-1]}; install spinesearch there"
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
