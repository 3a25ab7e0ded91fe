"""``spinesearch resume`` and ``retry``: continue a run that stopped, and try again what failed in it."""

from __future__ import annotations

import argparse

from spinesearch.cli.parser import CommandParser, build_console, command_parser
from spinesearch.cli.runs.recorded import open_recorded


def resume(arguments: list[str]) -> int:
    """Run ``spinesearch resume``; returns its exit code."""
    parser = command_parser(
        "resume",
        "Continue a search, a study or a training, if need be on other workers or with more trials. Nothing "
        "finished is repeated.",
        "examples:\n"
        "  spinesearch resume 2026-11-23_demo\n"
        "  spinesearch resume runs/2026-11-23_demo search.num_trials=64 search.num_workers=4\n"
        "  spinesearch resume s3://bucket/runs/demo runs_dir=/data/runs",
    )
    return _continue(_options(parser, arguments), retries=False)


def retry(arguments: list[str]) -> int:
    """Run ``spinesearch retry``; returns its exit code."""
    parser = command_parser(
        "retry",
        "Continue a search or a study, and first try again what has failed in it, once the cause is mended:\n"
        "a full disk, a faulty node. What the strategy has learnt from a failed candidate stays learnt, so\n"
        "that the search goes on as it would have; the new result counts on the leaderboard. Finalists that\n"
        "failed are trained again too. Killed in the middle, it is continued by `spinesearch resume`.",
        "examples:\n"
        "  spinesearch retry 2026-11-23_demo\n"
        "  spinesearch retry runs/2026-11-23_demo search.trial_timeout_s=3600",
    )
    return _continue(_options(parser, arguments), retries=True)


def _options(parser: CommandParser, arguments: list[str]) -> argparse.Namespace:
    parser.add_argument(
        "run", metavar="RUN", help="the run's folder, its name in runs/, or the URL of its mirror"
    )
    parser.add_quiet()
    parser.add_overrides("settings to change (optional)")
    return parser.parse_with_overrides(arguments)


def _continue(options: argparse.Namespace, *, retries: bool) -> int:
    from spinesearch.cli.runs.carry_out import carry_out
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.run_config import with_overrides
    from spinesearch.search.loop.retry import failed_finalists, failed_trials

    console = build_console(quiet=options.quiet)
    run, run_dir, overrides = open_recorded(options.run, options.overrides, console, only_read=options.cfg)
    if retries and run.training is not None:
        raise ValueError(f"{run_dir}: is a training, which has no candidates; `spinesearch resume` goes on")
    if retries and not options.cfg and not (failed_trials(run) or failed_finalists(run)):
        console.print(f"{run_dir}: nothing has failed in it that could be tried again", soft_wrap=True)
        return 0
    if run.study is not None:
        from spinesearch.cli.proxy.proxy import resume_study

        return resume_study(run, run_dir, overrides, console, only_print=options.cfg, retries=retries)
    if run.training is not None:
        from spinesearch.cli.networks.train import resume_training

        return resume_training(run, run_dir, overrides, only_print=options.cfg, quiet=options.quiet)
    config = with_overrides(run.config, overrides)
    del run  # the search reads it again, once it is the run's only writer
    if options.cfg:
        print(to_yaml(config.to_dict()), end="")
        return 0
    return carry_out(config, run_dir, console, retries=retries)
