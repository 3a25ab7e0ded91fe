"""What a search survives: 100 random faults over one run, whose ledger must end as an undisturbed one's.

python benchmarks/engine/chaos.py [NUM_FAULTS] [--seed SEED]

The real command carries the run out, in a process that is killed, hindered and started again, with a mirror
in another folder; see chaos_search.py. Linux only. Ends with code 1 if a fault was not survived.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from chaos_faults import FAULTS, Fault
from chaos_run import (
    TRIALS_PER_FAULT,
    DisturbedRun,
    NotSurvivedError,
    Recorded,
    carry_out_undisturbed,
    num_trials_for,
)

from spinesearch.controller.reinforce import ReinforceController
from spinesearch.search.runs.mirror import Mirror
from spinesearch.space import SpineNetSpace


def disturb(run: DisturbedRun, faults: list[Fault], survived: Counter[str]) -> Recorded:
    """What the ledger holds after these faults.

    Args:
        run: to be disturbed.
        faults: in order.
        survived: counts them by kind as the search gets to where the next is due.

    Raises:
        NotSurvivedError: it does not; the message names the fault.
    """
    last = "the start"
    try:
        for number, fault in enumerate(faults):
            run.go_on(TRIALS_PER_FAULT * number)
            survived[last] += 1
            last = fault.what
            time.sleep(run.rng.uniform(0, 0.2))
            fault.inflict(run)
        run.end()
        survived[last] += 1
    except NotSurvivedError as error:
        raise NotSurvivedError(f"fault {survived.total()}, {last}: {error}") from error
    return run.recorded()


def main() -> int:
    """Print what was survived; 1 if something was not."""
    parser = argparse.ArgumentParser(description="Random faults over a search.")
    parser.add_argument("num_faults", nargs="?", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="of the faults; random unless given")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    # Drivers are forked: what is slow the first time is done here, in one thread, as forks need it.
    torch.set_num_threads(1)
    ReinforceController(SpineNetSpace(), seed=0).suggest(1)

    rng = random.Random(seed)
    # As many of each kind, in random order.
    faults = [FAULTS[i % len(FAULTS)] for i in range(options.num_faults)]
    rng.shuffle(faults)
    num_trials = num_trials_for(len(faults))
    survived: Counter[str] = Counter()
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    begun = time.monotonic()
    run = DisturbedRun(folder, num_trials, rng)
    problem = ""
    try:
        whole = carry_out_undisturbed(folder, num_trials)
        disturbed = disturb(run, faults, survived)
        if disturbed != whole:
            problem = "the ledger differs from the undisturbed run's"
        elif Mirror(run.url, "run").read() != run.ledger_path.read_bytes():
            problem = "the mirror's ledger differs from the run's"
    except NotSurvivedError as error:
        problem = str(error)
    finally:
        run.close()

    width = max(len(fault.what) for fault in FAULTS)
    print(f"{'fault':{width}}  caused  survived")
    planned = Counter(fault.what for fault in faults)
    for fault in FAULTS:
        print(f"{fault.what:{width}}  {planned[fault.what]:6}  {survived[fault.what]:8}")
    del survived["the start"]
    print(f"{'all':{width}}  {len(faults):6}  {survived.total():8}")
    print(
        f"{num_trials} candidates, {run.num_drivers} processes to carry them out, "
        f"{time.monotonic() - begun:.0f} s"
    )
    if problem:
        print(f"not survived: {problem}; all is left in {folder}")
        return 1
    run.remove()
    print("proposals, results and updates equal those of an undisturbed run; nothing is lost, nothing twice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
