"""A run as tables and text, for `spinesearch show` and the end of a search."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich import box
from rich.table import Table
from rich.text import Text

from spinesearch.results.finalists import finished_rerank, num_trainings, standings
from spinesearch.results.ledger.run import Run, ranked_trials
from spinesearch.results.ledger.trial import FINALISTS, Attempt, Rerank, Trial
from spinesearch.results.reasons import common_reasons

_MAX_PROGRESS_ROWS = 12
_MAX_FAILURE_ROWS = 5
_MAX_ATTEMPT_ROWS = 10
_BAR_WIDTH = 24
_IN_OLD_LEDGERS = {"fusion": "sum"}  # what searches did whose ledgers are older than a setting
_FIGURES = ("AP", "AP50", "APs", "APm", "APl", "params", "madds")


def leaderboard(run: Run, *, top: int) -> Table:
    """The best architectures: rank, reward, AP by size, cost, trial, identity."""
    table = Table(box=box.SIMPLE_HEAD, title=f"best {top} of {run.num_done} by reward", title_justify="left")
    for name in ("rank", "reward", *_FIGURES, "trial", "arch_id"):
        table.add_column(name, justify="left" if name == "arch_id" else "right", no_wrap=True)
    for rank, trial in enumerate(ranked_trials(run.trials)[:top], start=1):
        figures = _figures([trial])
        table.add_row(str(rank), f"{trial.reward:.4f}", *figures, str(trial.trial), trial.arch_id)
    return table


def finalists(run: Run, rerank: Rerank) -> Table:
    """The architectures of a re-ranking, best first: score, its standard error, reward, means of the rest.

    Those that cannot be distinguished from the best have a ~ behind their score.
    """
    title = f"the best {len(rerank.trials)} ranked again, beside baselines: {rerank_setting(run, rerank)}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    names = ("rank", "score", "", "se", "reward", *_FIGURES, "trial", "arch_id")
    for name in names:
        table.add_column(name, justify="left" if name in ("", "arch_id") else "right", no_wrap=True)
    for rank, row in enumerate(standings(run, rerank), start=1):
        candidate = row.candidate
        table.add_row(
            str(rank),
            "failed" if row.score is None else f"{row.score:.4f}",
            "~" if row.is_tied else "",
            "-" if row.standard_error is None else f"{row.standard_error:.4f}",
            "-" if candidate is None else f"{candidate.reward:.4f}",
            *_figures(row.trainings),
            "baseline" if candidate is None else str(candidate.trial),
            row.baseline or (candidate.arch_id if candidate else ""),
        )
    return table


def finalist_lines(run: Run, rerank: Rerank) -> list[str]:
    """What has to be known to read `finalists`, and why trainings failed."""
    seed = run.config["seed"]
    lines = [
        "~ cannot be distinguished from the best at 95 %, all comparisons together, by trainings with the "
        "same seeds" + (": one seed distinguishes nothing" if len(rerank.seeds) == 1 else ""),
        f"score: mean over seeds that the search has not used. The reward is of seed {seed} alone, by which "
        "the best were chosen, so theirs are too high by what luck did",
    ]
    for row in standings(run, rerank):
        name = row.baseline or (f"trial {row.candidate.trial}" if row.candidate else "")
        lines += [f"{name} seed {trial.seed} failed: {trial.reason}" for trial in row.failed]
    return lines


def rerank_line(run: Run) -> str:
    """How far the newest re-ranking is, in one line; empty if it has finished or there is none."""
    if not run.reranks or finished_rerank(run) is run.reranks[-1]:
        return ""
    num_ended, num_all = num_trainings(run, run.reranks[-1])
    return f"ranking the best {len(run.reranks[-1].trials)} again: {num_ended} of {num_all} trainings done"


def rerank_setting(run: Run, rerank: Rerank) -> str:
    """Seeds of a re-ranking, and what differs from the search's setting."""
    searched = {**_IN_OLD_LEDGERS, **run.config["proxy_task"]}
    differs = [
        f"{key}={value}"
        for key, value in rerank.proxy_task.items()
        # JSON has lists only.
        if (list(old) if isinstance(old := searched.get(key), tuple) else old) != value and value is not None
    ]
    num_seeds = "1 seed" if len(rerank.seeds) == 1 else f"{len(rerank.seeds)} seeds"
    return ", ".join([num_seeds, *differs])


def _figures(trials: Sequence[Trial]) -> list[str]:
    """The columns `_FIGURES`, means over trainings of one network."""

    def mean(name: str) -> float | None:
        values = [trial.metrics.get(name) for trial in trials]
        known = [float(value) for value in values if value is not None]
        return sum(known) / len(known) if known else None

    aps = [mean(name) for name in ("ap", "ap50", "ap_small", "ap_medium", "ap_large")]
    return [
        *("-" if ap is None else f"{100 * ap:.1f}" for ap in aps),
        _millions(mean("num_parameters"), digits=2),
        _millions(mean("num_multiply_adds"), digits=0),
    ]


def progress(run: Run) -> Table:
    """Reward by generation: candidates done, mean, best, best so far, and a bar of the mean."""
    generations: dict[int, list[Trial]] = {}
    for trial in run.trials:
        generations.setdefault(trial.generation, []).append(trial)
    rows = [
        (number, trials) for number, trials in sorted(generations.items()) if any(t.is_done for t in trials)
    ]
    table = Table(box=box.SIMPLE_HEAD, title="reward by generation", title_justify="left")
    for name in ("generation", "done", "failed", "mean", "best", "best so far", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    highest = max((_mean(trials) for _, trials in rows), default=0.0)
    groups = _grouped(rows)
    best_so_far = -float("inf")
    for label, trials in groups:
        done = [t for t in trials if t.is_done]
        best = max((t.reward for t in done if t.reward is not None and not t.is_stopped), default=0.0)
        best_so_far = max(best_so_far, best)
        mean = _mean(trials)
        bar = "█" * round(_BAR_WIDTH * mean / highest) if highest > 0 else ""
        failed = sum(t.status == "failed" for t in done)
        table.add_row(
            label,
            f"{len(done)}/{len(trials)}",
            str(failed),
            f"{mean:.4f}",
            f"{best:.4f}",
            f"{best_so_far:.4f}",
            bar,
        )
    return table


def failures(run: Run) -> Table | None:
    """The commonest reasons why candidates failed: how many, the first one's number, the reason.

    Returns:
        The table, commonest first, earlier first among equals; None if no candidate failed.
    """
    ranked = common_reasons(run.trials)
    if not ranked:
        return None
    num_failed = sum(len(trials) for _, trials in ranked)
    shown, rest = ranked[:_MAX_FAILURE_ROWS], ranked[_MAX_FAILURE_ROWS:]
    title = f"{num_failed} of {run.num_done} failed"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for reason, trials in shown:
        # As Text: a reason may hold brackets, which a plain string would have read as markup.
        table.add_row(str(len(trials)), str(trials[0].trial), Text(reason))
    if rest:
        table.add_row(str(sum(len(trials) for _, trials in rest)), "", f"{len(rest)} rarer reasons")
    return table


def attempts_lost(run: Run) -> list[tuple[Trial, Attempt]]:
    """The attempts whose worker was lost with their candidates and finalists, newest first."""
    trials = [*run.trials, *run.finalists]
    attempts = [(trial, attempt) for trial in trials for attempt in (*trial.lost_before, *trial.lost)]
    return sorted(attempts, key=lambda pair: -pair[1].time)


def number_of(trial: Trial) -> str:
    """The number of a candidate or finalist, for people."""
    return f"{'finalist ' if trial.side == FINALISTS else ''}{trial.trial}"


def lost_attempts(run: Run) -> Table | None:
    """The attempts whose worker was lost: trial, attempt, node, worker, seconds, reason.

    Returns:
        The table, newest first; None if there was none.
    """
    attempts = attempts_lost(run)
    if not attempts:
        return None
    seconds = sum(attempt.seconds for _, attempt in attempts)
    title = f"{len(attempts)} attempts lost with their workers, {seconds:.0f} s of work"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name in ("trial", "attempt", "node", "worker", "seconds", "reason"):
        is_number = name in ("trial", "attempt", "seconds")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for trial, attempt in attempts[:_MAX_ATTEMPT_ROWS]:
        row = (number_of(trial), f"{attempt.attempt}", attempt.node, attempt.worker, f"{attempt.seconds:.0f}")
        table.add_row(*map(Text, row), Text(attempt.reason))
    if len(attempts) > _MAX_ATTEMPT_ROWS:
        table.add_row("", "", "", "", "", f"and {len(attempts) - _MAX_ATTEMPT_ROWS} earlier ones")
    return table


def format_size(size: int) -> str:
    """A number in two digits and a power of ten, as in 2.2e+34; it may be too great for a float."""
    if abs(size) < 10**15:
        return f"{size:.1e}"
    mantissa, exponent = f"{Decimal(size):.1e}".split("e")
    return f"{mantissa}e{int(exponent):+03d}"


def narrow_table(title: str) -> Table:
    """An empty table with two blanks between columns: seven of numbers fit 80 characters."""
    return Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def status_line(run: Run) -> str:
    """How far a run is, in one line."""
    total = run.config["search"]["num_trials"]
    counts = {
        name: sum(t.status == name for t in run.trials)
        for name in ("completed", "duplicate", "failed", "infeasible")
    }
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    num_masked = sum(t.is_masked for t in run.trials)
    if num_masked:
        parts += f"; {num_masked} of the failed lost with their workers and not learnt from"
    num_reopened = sum(t.is_reopened and t.status != "duplicate" for t in run.trials)
    reopened = f", {num_reopened} tried once more" if num_reopened else ""
    controller = run.config["controller"]["name"]
    return (
        f"{run.num_done} of {total} candidates done ({parts or 'none yet'}){reopened}, "
        f"{len(run.updates)} updates; "
        f"space {run.space.name} ({format_size(run.space.size)} choices), controller {controller}, "
        f"seed {run.config['seed']}"
    )


def coverage_line(run: Run) -> str:
    """Each output's share of the positive anchors, in one line; empty where the ledger does not hold it."""
    coverage = run.coverage
    if coverage is None:
        return ""
    pairs = zip(coverage["positives"], coverage["target_positives"], strict=True)
    outputs = ", ".join(f"P{level} {a:.1%} ({b:.1%})" for level, (a, b) in enumerate(pairs, start=3))
    return (
        f"positive anchors by output, by {coverage['num_images']} images; in brackets at "
        f"{coverage['target_image_size']} px: {outputs}"
    )


def duration(seconds: float) -> str:
    """A duration for people: ``42 s``, ``3 min``, ``2.5 h``, ``3.1 d``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def _grouped(rows: Sequence[tuple[int, list[Trial]]]) -> list[tuple[str, list[Trial]]]:
    """Generations, several to a row where there are many."""
    size = -(-len(rows) // _MAX_PROGRESS_ROWS) or 1
    groups = []
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        first, last = chunk[0][0], chunk[-1][0]
        label = str(first) if first == last else f"{first}-{last}"
        groups.append((label, [trial for _, trials in chunk for trial in trials]))
    return groups


def _mean(trials: Sequence[Trial]) -> float:
    rewards = [t.reward for t in trials if t.reward is not None]
    return sum(rewards) / len(rewards) if rewards else 0.0


def _millions(value: float | None, *, digits: int) -> str:
    return "-" if value is None else f"{value / 1e6:.{digits}f}M"
