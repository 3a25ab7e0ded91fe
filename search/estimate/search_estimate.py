"""What a search takes: `search_estimate`, from its configuration and a worker's pace."""

from __future__ import annotations

from dataclasses import replace

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.finalist_config import finalist_config
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.estimate.estimate import Estimate, Part
from spinesearch.search.estimate.pace import Pace
from spinesearch.search.finalist_plan import finalist_plan
from spinesearch.search.loop.finalists import BASELINES, Finalists
from spinesearch.space import SPINENET_49


def search_estimate(
    config: RunConfig,
    pace: Pace,
    *,
    num_train_images: int,
    run: Run,
    reranks: bool = False,
    duplicates: float | None = None,
) -> Estimate:
    """What is left of a search.

    Args:
        config: of it.
        pace: of one worker at its proxy task.
        num_train_images: that a candidate is trained on.
        run: as far as it is; of a new one what it begins with is read from its first event, if it has that.
        reranks: whether only the best are to be ranked again.
        duplicates: share of candidates that are the network of an earlier one and need no training; None for
            what the pace's run had, or none.
    """
    settings = config.search
    share = pace.duplicates if duplicates is None else duplicates
    known = 0 if reranks else _num_known(run)
    left = 0 if reranks else settings.num_trials - run.num_done - known
    count = left * (1 - (share or 0.0))
    num_steps, trainings = _course(config, num_train_images, share or 0.0)
    in_flight = settings.generation_size * (settings.lag + 1)
    parts = [
        Part(
            name="candidates",
            count=count,
            seconds=trainings * pace.other_s + num_steps * pace.step_s,
            at_once=in_flight,
            waits=settings.lag == 0,
        )
    ]
    notes = [
        "workers are equally fast, and none is lost",
        "no candidate is a duplicate of another, which would need no training"
        if not share
        else f"{share:.1%} of the candidates are duplicates and need no training",
    ]
    if settings.max_latency_ms is not None:
        notes.append("no candidate is over search.max_latency_ms, and measuring latency takes no time")
    if settings.halving:
        notes.append(
            f"by search.rungs a candidate is trained for {num_steps:.0f} of "
            f"{config.proxy_task.training_steps(num_train_images)} steps on average"
        )
    what = f"{left} candidates of {config.space.name}"
    if run.num_done and not reranks:
        what += f", {run.num_done} being done"
    if known:
        what += f", {known} being known from search.warm_start"
    if settings.finalists:
        final = finalist_config(config).proxy_task
        size = _relative_size(final, config.proxy_task)
        count = (settings.finalists + len(BASELINES)) * settings.finalist_seeds
        if not left and run.reranks:
            count = Finalists(finalist_plan(config), run.space).num_left(run)
        step_s = pace.step_s * size * final.batch_size / config.proxy_task.batch_size
        seconds = pace.other_s * size + final.training_steps(num_train_images) * step_s
        parts.append(
            Part(name="finalists and baselines", count=count, seconds=seconds, at_once=max(1, count))
        )
        what += (
            f", then {settings.finalists} {'finalist' if settings.finalists == 1 else 'finalists'} and "
            f"{len(BASELINES)} baselines, "
            f"{settings.finalist_seeds} {'seed' if settings.finalist_seeds == 1 else 'seeds'} each"
        )
        if size != 1.0:
            notes.append(
                f"finalists, whose task is another, take {size:.3g} times as long per image, as they have so "
                "many times the multiply-adds"
            )
    return Estimate(
        what=what,
        parts=tuple(parts),
        pace=pace.source,
        gpus_per_worker=pace.gpus_per_worker,
        notes=tuple(notes),
        num_candidates=left,
    )


def _num_known(run: Run) -> int:
    """Candidates without a result yet that another run has scored."""
    beginnings = run.sessions[0].get("beginnings", []) if run.sessions else []
    done = {trial.trial for trial in run.trials if trial.is_done}
    return sum(begun["result"] is not None and i not in done for i, begun in enumerate(beginnings))


def _course(config: RunConfig, num_train_images: int, duplicates: float) -> tuple[float, float]:
    """Means over a generation's networks: steps that one is trained for, and trainings these are in."""
    proxy_task, rungs = config.proxy_task, config.search.halving
    whole = proxy_task.training_steps(num_train_images)
    lengths = [*(rung.num_steps for rung in rungs), whole]
    num_all = num_left = max(1, round(config.search.generation_size * (1 - duplicates)))
    num_steps = trainings = kept = 0
    for i, length in enumerate(lengths):
        num_steps += num_left * (length - kept)
        trainings += num_left
        if i < len(rungs):
            num_left = rungs[i].num_kept(num_left)
            kept = _kept_steps(proxy_task, length, num_train_images)
    return num_steps / num_all, trainings / num_all


def _kept_steps(proxy_task: ProxySettings, length: int, num_train_images: int) -> int:
    """Steps of a training that the next, longer one of the same network goes on from."""
    from spinesearch.training.optim.optimizer import num_constant_steps

    if proxy_task.schedule != "constant_decay":
        return 0
    return num_constant_steps(replace(proxy_task.recipe(num_train_images), num_steps=length))


def _relative_size(task: ProxySettings, other: ProxySettings) -> float:
    """Multiply-adds of SpineNet-49's detector at a setting, as a multiple of those at another."""
    from spinesearch.proxy_task.model import network_cost_of

    ours, theirs = (network_cost_of(SPINENET_49, settings, 1).multiply_adds for settings in (task, other))
    return ours / theirs
