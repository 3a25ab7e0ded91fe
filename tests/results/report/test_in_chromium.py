"""A report in a real browser: it draws, sorts, shows the network of what is picked, and copies a spec."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import cells, clicked, everything_drawn, scrolled, shown, wait
from report_runs import record_long_search, record_search, record_study

from spinesearch import load_spec
from spinesearch.cli.main import main
from spinesearch.results.drawing.graph import graph_of
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.results.report.page import report_page
from spinesearch.results.report.source import read_source

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="no Chromium with its driver: apt-get install chromium chromium-driver",
    ),
]
PANELS = [
    "rewards",
    "costs",
    "best",
    "finalists",
    "strategy",
    "rungs",
    "coverage",
    "work",
    "failures",
    "candidates",
]
ODD = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make setup")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches, one that has not begun, and a study of their noise."""
    folder = tmp_path_factory.mktemp("runs")
    record_search(folder / "learns", has_rungs=True, num_finalists=3, reason=ODD)
    record_search(folder / "random", controller="random", seed=1)
    record_study(folder / "study")
    with Ledger(folder / "empty"):
        pass
    names = [str(folder / name) for name in ("learns", "random", "empty")]
    assert main(["report", *names, "--noise", str(folder / "study"), "-o", str(folder / "report.html")]) == 0
    return folder


def test_every_panel_draws_without_a_complaint(driver: Any, runs: Path):
    shown(driver, runs / "report.html")
    panels = driver.execute_script("return [...document.querySelectorAll('main > section')].map((s) => s.id)")
    assert panels == PANELS
    everything_drawn(driver)
    assert driver.get_log("browser") == []
    header = driver.execute_script("return document.getElementById('top').innerText")
    assert "empty: no search has begun" in header
    assert "controller bayesian" in header
    # Both searches, with the noise of the study: variance 0.02 ** 2 / 2 in each architecture.
    text = driver.execute_script("return document.getElementById('rewards').innerText")
    assert "learns: by the study study the reward varies by 0.0141" in text
    assert "random: by the study study" in text
    series = driver.execute_script(
        "return echarts.getInstanceByDom(document.querySelector('#rewards .plot')).getOption().series"
    )
    assert {one["name"] for one in series} == {"learns", "random", "failed"}
    best = next(one for one in series if one["id"] == "b0")
    low, high = best["markArea"]["data"][0]
    assert high["yAxis"] - low["yAxis"] == pytest.approx(1.96 * 2**0.5 * 0.02 / 2**0.5)


def test_bars_begin_at_zero(driver: Any, runs: Path):
    shown(driver, runs / "report.html")
    everything_drawn(driver)
    least = driver.execute_script(
        "const plots = [...document.querySelectorAll('.plot')].map((one) => echarts.getInstanceByDom(one));"
        "const options = plots.filter(Boolean).map((chart) => chart.getOption());"
        "const bars = options.filter((option) => option.series.some((one) => one.type === 'bar'));"
        "return bars.map((option) => option.yAxis[0].min)"
    )
    assert least == [0, 0]  # rungs, coverage


def test_a_browser_that_cannot_draw_says_so(driver: Any, runs: Path):
    lacking = {"source": "delete window.DecompressionStream"}
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", lacking)
    try:
        driver.get((runs / "report.html").as_uri())
        line = wait(driver, "return document.getElementById('main').innerText")
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert line.startswith("This report cannot be drawn here (ReferenceError: DecompressionStream")
    assert len(driver.get_log("browser")) == 1


def test_texts_from_data_are_texts(driver: Any, runs: Path, tmp_path: Path):
    page = tmp_path / "odd.html"
    page.write_text(report_page([read_source(runs / "learns", name=ODD)], version=ODD), encoding="utf-8")
    shown(driver, page)
    everything_drawn(driver)
    driver.execute_script("document.querySelector('#failures tbody tr').click()")
    assert ODD in driver.execute_script("return document.getElementById('detail').innerText")
    assert ODD in driver.execute_script("return document.getElementById('top').innerText")
    assert ODD in driver.title
    assert driver.execute_script("return window.hacked") is None
    assert driver.get_log("browser") == []


def test_a_heading_sorts(driver: Any, runs: Path):
    shown(driver, runs / "report.html")
    rewards = [float(text) for text in cells(driver, "reward")]
    assert rewards == sorted(rewards, reverse=True)
    assert len(rewards) == 20
    heading = (
        "[...document.querySelectorAll('#candidates th button')].find((b) => b.textContent.startsWith({!r}))"
    )
    driver.execute_script(heading.format("trial") + ".click()")
    assert cells(driver, "trial")[:4] == ["63", "63", "62", "62"]
    driver.execute_script(heading.format("trial") + ".click()")
    assert cells(driver, "trial")[:4] == ["0", "0", "1", "1"]
    assert driver.execute_script(f"return {heading.format('trial')}.parentNode.ariaSort") == "ascending"
    driver.execute_script(heading.format("fate") + ".click()")
    assert cells(driver, "fate")[0] == "completed"
    search = "document.querySelector('#candidates input')"
    driver.execute_script(f"{search}.value = '17'; {search}.dispatchEvent(new Event('input'))")
    assert cells(driver, "trial") == ["17", "17"]


def a_lone_trial(run: Run, *, drawn: set[int]) -> int:
    """A candidate near whose dot no other is, and that Python has not drawn."""
    rewards = {t.trial: t.reward for t in run.trials if t.status == "completed" and not t.is_stopped}
    middle = sorted(rewards, key=lambda trial: rewards[trial])[len(rewards) // 3 : 2 * len(rewards) // 3]
    return next(trial for trial in middle if trial not in drawn and trial > 8)


def test_picking_a_dot_shows_its_network_and_copies_a_spec(driver: Any, runs: Path, tmp_path: Path, capsys):
    page = tmp_path / "one.html"
    assert main(["report", str(runs / "learns"), "-o", str(page)]) == 0
    run, _ = load_run(runs / "learns")
    shown(driver, page)
    drawn = set(map(int, driver.execute_script("return Object.keys(report.runs[0].drawings)")))
    trial = a_lone_trial(run, drawn=drawn)
    clicked(driver, trial)
    detail = wait(driver, "return document.getElementById('detail').innerText")
    assert f"learns, trial {trial}\n" in detail
    assert run.trials[trial].arch_id in detail
    wait(driver, "return document.querySelector('#detail canvas')")
    driver.execute_script("document.querySelector('#detail details').open = true")
    rows = driver.execute_script("return document.querySelectorAll('#detail tbody tr').length")
    assert rows == len(run.spec(run.trials[trial]))

    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions})
    copy = driver.find_element("css selector", "#detail .copy")
    scrolled(driver, "#detail .copy")
    copy.click()
    wait(driver, "return document.querySelector('#detail .copy').textContent === 'copied'")
    text = driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    path = tmp_path / "spec.json"
    path.write_text(text, encoding="utf-8")
    assert load_spec(path) == run.spec(run.trials[trial])
    capsys.readouterr()
    assert main(["spec", "show", str(path)]) == 0
    assert run.trials[trial].arch_id in capsys.readouterr().out
    assert main(["spec", "validate", str(path)]) == 0

    # One that Python has drawn, by its row in the table; Escape closes the panel.
    driver.execute_script("document.querySelector('#candidates tbody tr').click()")
    wait(driver, "return document.querySelector('#detail svg')")
    driver.execute_script("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert driver.execute_script("return document.getElementById('detail').hidden")
    assert driver.get_log("browser") == []


def test_networks_are_those_of_the_space(driver: Any, runs: Path):
    run, _ = load_run(runs / "learns")
    shown(driver, runs / "report.html")
    found = driver.execute_script(
        "const run = report.runs[0], trials = [...Array(run.size).keys()];"
        "return trials.map((trial) => [run.spec(trial), run.graph(trial)])"
    )
    for trial, (spec, graph) in zip(run.trials, found, strict=True):
        assert {**spec, "name": "", "provenance": {}} == {**run.spec(trial).to_dict(), "provenance": {}}
        expected = graph_of(run.spec(trial))
        edges = [(edge["source"], edge["target"], edge["kind"]) for edge in graph["edges"]]
        assert edges == [(edge.source, edge.target, edge.kind) for edge in expected.edges]
        assert [node["isDead"] for node in graph["nodes"]] == [node.is_dead for node in expected.nodes]


def test_it_fits_a_phone_and_follows_the_reader_s_scheme(driver: Any, runs: Path):
    backs = []
    for scheme in ("light", "dark"):
        shown(driver, runs / "report.html", width=390, scheme=scheme)
        everything_drawn(driver)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        backs.append(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert backs[0] != backs[1]
    assert driver.get_log("browser") == []


def test_a_damaged_run_is_shown_as_far_as_it_goes(driver: Any, tmp_path: Path):
    path = record_search(tmp_path / "run", num_trials=16) / LEDGER_NAME
    with Ledger(path.parent) as ledger:
        ledger.append([{"event": "stop", "time": 0.0}])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[14] = b"{}\n"
    path.write_bytes(b"".join(lines))
    assert main(["report", str(tmp_path / "run")]) == 0
    shown(driver, tmp_path / "run" / "report.html")
    everything_drawn(driver)
    assert "line 15 is damaged" in driver.execute_script("return document.getElementById('top').innerText")
    assert driver.get_log("browser") == []


def test_runs_without_results_are_shown_too(driver: Any, tmp_path: Path):
    record_search(tmp_path / "begun", num_trials=16, num_done=0)
    record_search(tmp_path / "failed", num_trials=16, num_done=0)
    with Ledger(tmp_path / "failed") as ledger:
        ended = {"status": "failed", "reward": 0.0, "metrics": {}, "reason": ODD, "time": 1.0}
        ledger.append([{"event": "result", "trial": 0, **ended}])
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "begun"), str(tmp_path / "failed"), "-o", str(page)]) == 0
    shown(driver, page)
    everything_drawn(driver)
    header = driver.execute_script("return document.getElementById('top').innerText")
    assert "begun: no candidate has a result yet" in header
    assert driver.get_log("browser") == []


def test_fourteen_thousand_candidates(driver: Any, tmp_path: Path):
    """Under 3 MB; the page's own work is a fraction of a second on an idle core, held here to three."""
    record_long_search(tmp_path / "run", num_trials=14_000)
    assert main(["report", str(tmp_path / "run")]) == 0
    page = tmp_path / "run" / "report.html"
    assert page.stat().st_size < 3e6
    shown(driver, page)
    assert driver.execute_script("return report.milliseconds") < 3000
    everything_drawn(driver)
    clicked(driver, driver.execute_script("return report.runs[0].best[0]"))
    assert "trial" in wait(driver, "return document.getElementById('detail').innerText")
    assert driver.get_log("browser") == []
