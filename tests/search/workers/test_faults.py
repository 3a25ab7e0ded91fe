"""Whole searches on a cluster of several nodes while things go wrong; after each the ledger is as without.

Every search is the real command in a process of its own, with candidates that need no training.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_nodes import Nodes, start_nodes
from cluster_searches import JumpingClock, Searches, recorded

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with start_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def settings(cache_dir: Path, nodes: Nodes) -> list[str]:
    return [
        f"data.cache_dir={cache_dir}",
        "data.num_images=16",
        "data.num_val_images=0",
        "data.held_out_share=0.4",
        "search.generation_size=4",
        "search.num_trials=24",
        "search.reward_metric=ap",
        "search.max_failed_share=1",
        "search.export_top=0",
        "search.finalists=0",
        f"search.ray_address={nodes.address}",
        "search.gpus_per_trial=0",
        "search.cpus_per_trial=0.5",  # two workers on the head
    ]


@pytest.fixture
def searches(nodes: Nodes, settings, tmp_path: Path) -> Iterator[Searches]:
    searches = Searches(tmp_path, settings, nodes.environ)
    yield searches
    searches.close()
    nodes.kill_added()


@pytest.fixture(scope="module")
def undisturbed(nodes: Nodes, settings, tmp_path_factory) -> list[dict[str, object]]:
    """What the ledger holds after a search in one process, in which nothing happens."""
    searches = Searches(tmp_path_factory.mktemp("undisturbed"), settings, nodes.environ)
    driver = searches.start("search.engine=serial")
    assert driver.finish() == 0, driver.output
    return recorded(searches.run_dir)


def test_nodes_that_join_take_work_and_what_a_killed_one_had_is_done_elsewhere(
    nodes: Nodes, searches: Searches, undisturbed
):
    gate = searches.folder / "gate"
    driver = searches.start(gate=gate)
    searches.wait_for_begun(2)  # on the head
    killed = nodes.add(num_cpus=1)
    searches.wait_for_begun(4)
    nodes.kill(killed)
    searches.wait_for_lost(2)
    joined = nodes.add(num_cpus=1)
    searches.wait_for_begun(6)
    gate.touch()
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    lost = searches.lost()
    assert [attempt["trial"] for attempt in lost] in ([2, 3], [3, 2])
    assert {attempt["node"].partition("/")[2] for attempt in lost} == {killed.node_id[:8]}
    # Ray reports the connection first, and the death of a node that went silently some time later.
    assert all(re.match("Actor(Died|Unavailable)Error: ", attempt["reason"]) for attempt in lost)
    results = [event for event in searches.events("result") if event["status"] != "duplicate"]
    at_work = {event["node"].partition("/")[2] for event in results}
    assert len(at_work) == 2
    assert at_work > {joined.node_id[:8]}
    assert searches.num_begun() == begun_once_and_again(searches)


def test_killed_and_frozen_workers_cost_nothing_but_their_time(searches: Searches, undisturbed):
    driver = searches.start("search.trial_timeout_s=5", seconds=0.4)
    victims = []
    for number, stop in enumerate((signal.SIGKILL, signal.SIGSTOP), start=1):
        searches.wait_for_begun(len(searches.begun()) + 3)
        victims.append(searches.begun()[-1]["pid"])
        os.kill(victims[-1], stop)
        searches.wait_for_lost(number)
    searches.wait_for(lambda: not is_running(victims[1]), "the end of the frozen process")
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    killed, frozen = searches.lost()
    assert [int(lost["worker"].partition(":")[2]) for lost in (killed, frozen)] == victims
    assert re.match("Actor(Died|Unavailable)Error: ", killed["reason"])
    assert frozen["reason"] == "timed out after 5 s"
    assert searches.num_begun() == begun_once_and_again(searches)


def test_what_a_node_loses_is_done_on_others_and_the_node_is_left_alone(
    nodes: Nodes, searches: Searches, undisturbed
):
    """As with a GPU that fell off its bus: workers there start well and die at their first candidate."""
    gate = searches.folder / "gate"
    deadly = nodes.add(num_cpus=1)
    driver = searches.start(gate=gate, deadly=deadly)
    searches.wait_for(lambda: "leaving that node alone" in driver.output, "word of the node")
    gate.touch()
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    lost = searches.lost()
    assert {attempt["node"].partition("/")[2] for attempt in lost} == {deadly.node_id[:8]}
    assert max(Counter(attempt["trial"] for attempt in lost).values()) == 1  # the next attempt was elsewhere
    assert re.search(
        r"were lost 3 times in a row, the last: .*; leaving that node alone for 600", driver.output
    )
    assert len(lost) <= 6  # three rounds of the two workers that it has room for


def test_with_all_nodes_refused_a_search_waits_for_another_to_join(
    nodes: Nodes, searches: Searches, undisturbed
):
    closed = nodes.add(num_cpus=1, resources={"spot": 1})
    driver = searches.start("search.resources_per_trial={spot: 1}", "search.num_workers=2", closed=closed)
    searches.wait_for(lambda: "waiting up to 300 s" in driver.output, "word of the refusal")
    assert "stale file handle; continuing without it" in driver.output
    joined = nodes.add(num_cpus=1, resources={"spot": 1})
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    results = [event for event in searches.events("result") if event["status"] != "duplicate"]
    assert {event["node"].partition("/")[2] for event in results} == {joined.node_id[:8]}


def test_the_driver_is_killed_and_the_same_command_resumes(searches: Searches, undisturbed):
    for count in (0, 5, 13):
        driver = searches.start(seconds=0.2)
        searches.wait_for_begun(1)
        searches.wait_for_events("result", count)
        driver.kill()
        results = searches.events("result")
        begun = searches.begun()
    driver = searches.start()
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    assert searches.events("result")[: len(results)] == results
    done = {event["trial"] for event in results}
    done_ids = {event["arch_id"] for event in searches.events("propose") if event["trial"] in done}
    assert not done_ids & {mark["arch_id"] for mark in searches.begun()[len(begun) :]}
    assert len(searches.events("run")) == 4
    assert not searches.lost()


def test_of_two_drivers_the_second_is_refused_and_the_first_is_undisturbed(searches: Searches, undisturbed):
    first = searches.start(seconds=0.2)
    searches.wait_for_events("result", 2)
    second = searches.start(seconds=0.2)
    assert second.finish() == 2
    in_use = f"{searches.run_dir}: another process is writing to this run (process {first.process.pid} on "
    assert second.output.startswith(f"spinesearch: {in_use}")
    assert second.output.count("\n") == 1
    assert first.process.is_alive()
    assert first.finish() == 0, first.output
    assert recorded(searches.run_dir) == undisturbed
    assert len(searches.events("run")) == 1
    assert set(searches.num_begun().values()) == {1}


@pytest.fixture
def small_disk(searches: Searches) -> Iterator[Path]:
    """A file system of its own, of 16 MB, for the run."""
    folder = searches.run_dir.parent
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    mount = shutil.which("mount") and subprocess.run(command, capture_output=True, text=True)
    if not mount or mount.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mount.stderr.strip() if mount else 'no mount'}")
    yield folder
    searches.close()
    subprocess.run(["umount", folder], check=True)


def test_on_a_full_disk_the_search_stops_with_one_line_and_continues_when_there_is_room(
    small_disk: Path, searches: Searches, undisturbed
):
    driver = searches.start(seconds=0.2)
    searches.wait_for_events("result", 5)
    filler = small_disk / "other"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    line = "ledger.jsonl: could not be written: No space left on device; what it holds is safe: make room and"
    for stopped in (driver, searches.start()):
        assert stopped.finish() == 2, stopped.output
        last = stopped.output.splitlines()[-1]
        assert last.startswith(f"spinesearch: {searches.run_dir}/{line}"), stopped.output
        assert "Traceback" not in stopped.output
    results = searches.events("result")
    filler.unlink()
    driver = searches.start()
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    assert searches.events("result")[: len(results)] == results


def test_a_wall_clock_that_jumps_changes_nothing_but_the_time_stamps(searches: Searches, undisturbed):
    driver = searches.start("search.trial_timeout_s=60", seconds=0.1, clock=JumpingClock())
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    assert not searches.lost()
    times = [event["time"] for event in searches.events("result")]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(steps) < -20 * 86400
    assert max(steps) > 20 * 86400


def test_workers_share_a_gpu_and_keep_to_the_nodes_that_offer_what_they_need(
    nodes: Nodes, searches: Searches, undisturbed
):
    nodes.add(num_cpus=4, num_gpus=4)
    chosen = nodes.add(num_cpus=4, num_gpus=1, resources={"a100": 2})
    gate = searches.folder / "gate"
    driver = searches.start(
        "search.gpus_per_trial=0.5",
        "search.resources_per_trial={a100: 0.5}",
        "search.cpus_per_trial=1",
        gate=gate,
    )
    searches.wait_for_begun(2)
    gate.touch()
    assert driver.finish() == 0, driver.output
    assert recorded(searches.run_dir) == undisturbed
    results = [event for event in searches.events("result") if event["status"] != "duplicate"]
    assert {event["node"].partition("/")[2] for event in results} == {chosen.node_id[:8]}
    assert len({event["worker"] for event in results}) == 2  # on one GPU, though there is room for four
    assert {mark["gpus"] for mark in searches.begun()} == {"0"}


def begun_once_and_again(searches: Searches) -> Counter[str]:
    """How often each network should have been begun: once, and again for each attempt that was lost."""
    arch_ids = {event["trial"]: event["arch_id"] for event in searches.events("propose")}
    counts = Counter(set(arch_ids.values()))
    counts.update(arch_ids[event["trial"]] for event in searches.lost())
    return counts


def is_running(pid: int) -> bool:
    """Whether a process is there; one that has ended and was not waited for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")
