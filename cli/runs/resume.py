"""``spinesearch resume``: continue a run that stopped."""

from __future__ import annotations

from spinesearch.cli.parser import build_console, command_parser
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
    parser.add_argument(
        "run", metavar="RUN", help="the run's folder, its name in runs/, or the URL of its mirror"
    )
    parser.add_overrides("settings to change (optional)")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.cli.runs.carry_out import carry_out
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.run_config import with_overrides

    run, run_dir, overrides = open_recorded(
        options.run, options.overrides, build_console(), only_read=options.cfg
    )
    if run.study is not None:
        from spinesearch.cli.proxy.proxy import resume_study

        return resume_study(run, run_dir, overrides, only_print=options.cfg)
    if run.training is not None:
        from spinesearch.cli.networks.train import resume_training

        return resume_training(run, run_dir, overrides, only_print=options.cfg)
    config = with_overrides(run.config, overrides)
    del run  # the search reads it again, once it is the run's only writer
    if options.cfg:
        print(to_yaml(config.to_dict()), end="")
        return 0
    return carry_out(config, run_dir)
