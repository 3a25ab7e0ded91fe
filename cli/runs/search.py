"""``spinesearch search``: start a search, or continue the one of the same name."""

from __future__ import annotations

from spinesearch.cli.parser import build_console, command_parser


def search(arguments: list[str]) -> int:
    """Run ``spinesearch search``; returns its exit code."""
    parser = command_parser(
        "search",
        "Start a search. With name=NAME it is written to runs/NAME, and the same command continues it.",
        "examples:\n"
        "  spinesearch search experiment=demo\n"
        "  spinesearch search data=coco data.train_images=DIR data.train_annotations=FILE\n"
        "  spinesearch search controller=random search.num_workers=8 name=baseline\n\n"
        "groups: space=spinenet|spinenet_cloud|spinenet_v2|spinenet_mbconv\n"
        "              |r0_sp53|r14_sp39|r23_sp30|r35_sp18|hourglass|fish\n"
        "        proxy_task=all_outputs|small|paper  data=generated|coco|classes\n"
        "        controller=bayesian|reinforce|ppo|evolution|local_search|random\n"
        "        experiment=demo|paper|cloud|mobile|one_gpu_day\n"
        "        --cfg prints every setting with its value and meaning. docs/settings.md has more.",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, and show what would run and what it would take, without starting it",
    )
    parser.add_quiet()
    parser.add_overrides("settings to change; text is taken literally, other values by hydra's grammar")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.cli.runs.carry_out import carry_out, new_run_dir
    from spinesearch.search.config.run_config import compose, composed_yaml, run_config

    if options.cfg:
        print(composed_yaml(options.overrides), end="")
        return 0
    config = run_config(compose(options.overrides))
    if options.dry_run:
        from spinesearch.cli.proxy.estimate import show_planned_search

        return show_planned_search(config)
    return carry_out(config, new_run_dir(config), build_console(quiet=options.quiet))
