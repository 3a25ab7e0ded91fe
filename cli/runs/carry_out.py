"""What ``search`` and ``resume`` share: a search to its end."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import build_console, fail, interrupt

if TYPE_CHECKING:
    from spinesearch.search.config.run_config import RunConfig


def carry_out(config: RunConfig, run_dir: Path) -> int:
    """Search to the end and show what was found."""
    from spinesearch.cli.networks.export import write_exports
    from spinesearch.results.ledger.run import ranked_trials
    from spinesearch.results.tables import leaderboard
    from spinesearch.search.runs.run_folder import give_up_unused, has_run
    from spinesearch.search.scoring.scorer import EngineError
    from spinesearch.search.session import search

    console = build_console()
    signal.signal(signal.SIGTERM, interrupt)
    folder = shlex.quote(str(run_dir))
    resume = f"spinesearch resume {folder}"
    try:
        run = search(config, run_dir, console)
    except KeyboardInterrupt:
        if has_run(run_dir):
            console.print(f"stopped; nothing finished is lost. Go on with:\n  {resume}")
        return 130
    except EngineError as error:
        return fail(f"{error} (then: {resume})", code=1)
    finally:
        give_up_unused(config, run_dir)
    best = ranked_trials(run.trials)
    if not best:
        return fail(f"no candidate completed; `spinesearch show {folder}` tells why", code=1)
    console.print()
    console.print(leaderboard(run, top=min(max(config.search.export_top, 5), len(best))))
    if config.search.export_top:
        write_exports(run, run_dir, config.search.export_top, None)
        if config.mirror is not None:
            from spinesearch.search.watchers.mirror_observer import send_exports

            send_exports(config.mirror, run_dir, console)
    console.print(f"next:\n  spinesearch show {folder}\n  {resume} search.num_trials={2 * len(run.trials)}")
    return 0
