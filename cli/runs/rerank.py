"""``spinesearch rerank``: train the best of a run longer, with new seeds, and rank them by that."""

from __future__ import annotations

from spinesearch.cli.parser import build_console, command_parser
from spinesearch.cli.runs.recorded import open_recorded


def rerank(arguments: list[str]) -> int:
    """Run ``spinesearch rerank``; returns its exit code."""
    parser = command_parser(
        "rerank",
        "Train the best candidates of a run longer, with several seeds that the search has not used, beside\n"
        "SpineNet-49 and ResNet-50-FPN, and rank them by that. A search ends with it (search.finalists);\n"
        "this does it again with other settings, or before the search is complete, which it does not go on\n"
        "with. What was trained before with the same settings and seeds counts, and of several rankings the\n"
        "newest. The same command continues what was interrupted.",
        "examples:\n"
        "  spinesearch rerank 2026-11-23_demo --top 8 --seeds 3\n"
        "  spinesearch rerank runs/2026-11-23_demo --seeds 5 proxy_task.num_steps=1000 search.num_workers=8",
    )
    parser.add_argument(
        "run", metavar="RUN", help="the run's folder, its name in runs/, or the URL of its mirror"
    )
    parser.add_argument(
        "--top", type=int, metavar="N", help="candidates, the best by reward (default: the run's, or 8)"
    )
    parser.add_argument(
        "--seeds", type=int, metavar="M", help="trainings of each (default: the run's finalist_seeds)"
    )
    parser.add_quiet()
    parser.add_overrides(
        "proxy_task.key=value of these trainings; others say how they are run, as search.num_workers"
    )
    options = parser.parse_with_overrides(arguments)
    from spinesearch.cli.runs.carry_out import carry_out
    from spinesearch.results.ledger.run import ranked_trials
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.finalist_config import rerank_config

    console = build_console(quiet=options.quiet)
    run, run_dir, overrides = open_recorded(options.run, options.overrides, console, only_read=options.cfg)
    if run.kind != "search":
        raise ValueError(f"{run_dir}: is a {run.kind}, which has no best; give a search")
    config = rerank_config(run.config, overrides, top=options.top, num_seeds=options.seeds)
    if options.cfg:
        print(to_yaml(config.to_dict()), end="")
        return 0
    if not ranked_trials(run.trials):
        raise ValueError(f"{run_dir}: no candidate has completed, so there is none to rank again")
    del run  # the session reads it again, once it is the run's only writer
    return carry_out(config, run_dir, console, reranks=True)
