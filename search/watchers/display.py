"""What a search shows while it runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from spinesearch.results.finalists import num_trainings
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Trial, Update
from spinesearch.results.tables import duration
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.warn import warn


class Display(SearchObserver):
    """One line per candidate, and on a terminal a live line of the whole below them.

    The live line: candidates done of all, running, best and mean reward, candidates a minute, time left.

    Args:
        console: where to.
        reward_metric: the name the reward is shown under.
    """

    def __init__(self, console: Console, *, reward_metric: str) -> None:
        self._console = console
        self._metric = reward_metric
        self._progress: Progress | None = None
        self._is_study = False  # where the best of all trainings means little: it has the luckiest seed
        self._is_ranking = False
        self._num_trials = 0
        self._num_done = 0
        self._num_rewards = 0
        self._reward_sum = 0.0
        self._best = -float("inf")
        self._done_before = 0
        self._started = time.monotonic()
        self._num_running = 0

    def started(self, run: Run, num_trials: int) -> None:
        """Show where the run stands."""
        self._num_trials, self._is_study = num_trials, run.study is not None
        self._recount(run)
        self._done_before = self._num_done
        self._started = time.monotonic()
        if self._num_done:
            done = f"{self._num_done} of {num_trials}"
            self._print(
                f"{done} trainings are done already"
                if self._is_study
                else f"{done} candidates are done already{self._best_so_far()}"
            )
        if self._console.is_terminal and not self._console.quiet:
            self._progress = Progress(
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(bar_width=30),
                _Status(),
                TimeElapsedColumn(),
                console=self._console,
                refresh_per_second=2,  # the workers need the processor more
                transient=True,
            )
            self._progress.add_task("search", total=num_trials, completed=self._num_done, status="starting")
            self._progress.start()

    def recorded(self, event: Event, run: Run) -> None:
        """A line for a result, a rung, an update and for candidates that are reopened."""
        if event["event"] == "rerank" or event.get("side") == FINALISTS:
            self._show_finalists(event, run)
        elif event["event"] == "rung":
            self._show_rung(run.trials[event["trial"]])
        elif event["event"] == "result":
            self._show_result(run.trials[event["trial"]])
        elif event["event"] == "update":
            self._show_update(run.updates[event["update"]])
        elif event["event"] == "reopen":
            self._recount(run)
            self._done_before = self._num_done
            self._print(f"tried once more: {len(event['trials'])} candidates, as {event['reason']}")

    def _head(self, trial: Trial) -> str:
        return f"{self._counter()} trial {trial.trial:<{len(str(self._num_trials))}}"

    def _show_rung(self, trial: Trial) -> None:
        part = trial.rungs[-1]
        how = f"{part.seconds:.1f} s"
        if part.duplicate_of is not None:
            how = f"same network as trial {part.duplicate_of}"
        scores = self._scores(part.metrics)
        self._print(f"{self._head(trial)}  at {part.num_steps} steps: {scores}  {how}", style="dim")

    def _show_result(self, trial: Trial) -> None:
        is_candidate = trial.status == "completed" and not trial.is_stopped and not self._is_study
        is_best = is_candidate and trial.reward is not None and trial.reward > self._best
        self._count(trial)
        head = self._head(trial)
        if trial.seed is not None:
            head = " ".join(filter(None, (head, trial.side, trial.arch_id, f"seed {trial.seed}")))
        stopped = f"  stopped after {trial.rungs[-1].num_steps} steps" if trial.is_stopped else ""
        if trial.status == "completed":
            line = f"{head}  {self._scores(trial.metrics)}{_costs(trial)}  {trial.seconds:.1f} s{stopped}"
            self._print(line + ("  best so far" if is_best else ""), style="bold green" if is_best else None)
        elif trial.status == "duplicate":
            reward = f"{self._metric} {trial.reward:.4f}"
            self._print(f"{head}  {reward}  same network as trial {trial.duplicate_of}{stopped}")
        else:
            self._print(f"{head}  {trial.status}: {trial.reason}", style="yellow")
        self._refresh()

    def _show_finalists(self, event: Event, run: Run) -> None:
        rerank = run.reranks[-1]
        self._num_done, num_all = num_trainings(run, rerank)
        if not self._is_ranking:  # the live line counts these from here on
            self._is_ranking, self._num_trials = True, num_all
            self._done_before, self._started = self._num_done, time.monotonic()
            if self._progress is not None:
                self._progress.update(self._progress.task_ids[0], total=num_all)
        if event["event"] == "rerank":
            self._print(
                f"ranking the best {len(rerank.trials)} again, beside {len(rerank.baselines)} baselines"
            )
        elif event["event"] == "result":
            trial = run.trial_of(event)
            candidates = {run.trials[number].arch_id: f"trial {number}" for number in rerank.trials}
            name = trial.baseline or candidates[trial.arch_id]
            head = f"{self._counter()} {name} seed {trial.seed}"
            if trial.status == "failed":
                self._print(f"{head}  failed: {trial.reason}", style="yellow")
            else:
                self._print(f"{head}  {self._scores(trial.metrics)}{_costs(trial)}  {trial.seconds:.1f} s")
        self._refresh()

    def _counter(self) -> str:
        return f"[{self._num_done:{len(str(self._num_trials))}}/{self._num_trials}]"

    def _show_update(self, update: Update) -> None:
        if update.stats:
            stats = "  ".join(f"{name} {_number(value)}" for name, value in sorted(update.stats.items()))
            self._print(f"update {update.update}: {stats}", style="dim")

    def warned(self, message: str) -> None:
        """One line."""
        warn(self._console, message)

    def ticked(self, num_running: int) -> None:
        """Refresh the live line."""
        self._num_running = num_running
        self._refresh()

    def ended(self) -> None:
        """Remove the live line."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _best_so_far(self) -> str:
        return f", best {self._best:.4f}" if self._best > -float("inf") else ""

    def _recount(self, run: Run) -> None:
        self._num_done, self._num_rewards, self._reward_sum, self._best = 0, 0, 0.0, -float("inf")
        for trial in run.trials:
            if trial.is_done:
                self._count(trial)

    def _count(self, trial: Trial) -> None:
        self._num_done += 1
        if trial.reward is None:
            return
        self._num_rewards += 1
        self._reward_sum += trial.reward
        if trial.status == "completed" and not trial.is_stopped:
            self._best = max(self._best, trial.reward)

    def _scores(self, metrics: Mapping[str, Any]) -> str:
        names = dict.fromkeys((self._metric, "ap", "ap50"))
        return "  ".join(f"{name} {metrics[name]:.4f}" for name in names if name in metrics)

    def _print(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def _refresh(self) -> None:
        if self._progress is None:
            return
        parts = [f"running {self._num_running}"]
        if self._best > -float("inf") and not self._is_study:
            parts.append(f"best {self._best:.4f}")
        if self._num_rewards and not self._is_study:
            parts.append(f"mean {self._reward_sum / self._num_rewards:.4f}")
        done_now = self._num_done - self._done_before
        if done_now:
            seconds_each = (time.monotonic() - self._started) / done_now
            parts.append(f"{60 / seconds_each:.1f}/min")
            parts.append(f"{duration((self._num_trials - self._num_done) * seconds_each)} left")
        self._progress.update(self._progress.task_ids[0], completed=self._num_done, status="  ".join(parts))


class _Status(ProgressColumn):
    """The live line's text."""

    def render(self, task: Task) -> Text:
        """The text that `Display` last set."""
        return Text(str(task.fields.get("status", "")))


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _costs(trial: Trial) -> str:
    parameters, multiply_adds = trial.metrics.get("num_parameters"), trial.metrics.get("num_multiply_adds")
    if parameters is None or multiply_adds is None:
        return ""
    return f"  {parameters / 1e6:.2f}M params  {multiply_adds / 1e6:.0f}M madds"
