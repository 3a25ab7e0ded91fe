"""A page in a real browser: opened, scrolled, read and clicked."""

import time
from pathlib import Path
from typing import Any

SIZE = (1400, 1000)


def shown(driver: Any, page: Path, *, width: int = SIZE[0], scheme: str = "light") -> None:
    """Open a page and wait until it has drawn."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": SIZE[1], "deviceScaleFactor": 1, "mobile": width < 600},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.get(page.as_uri())
    wait(driver, "return Boolean(window.report)")


def wait(driver: Any, script: str, timeout_s: float = 60.0) -> Any:
    """What a script returns, once that is true."""
    end = time.monotonic() + timeout_s
    while not (value := driver.execute_script(script)):
        assert time.monotonic() < end, script
        time.sleep(0.05)
    return value


def scrolled(driver: Any, element: str) -> None:
    driver.execute_script(f"document.querySelector({element!r}).scrollIntoView({{block: 'center'}})")


def everything_drawn(driver: Any) -> None:
    """Scroll until every plot is there."""
    driver.execute_script("document.getElementById('strategy')?.scrollIntoView()")
    wait(driver, "return !document.getElementById('strategy') || document.querySelector('#strategy .plot')")
    for place in range(driver.execute_script("return document.querySelectorAll('.plot').length")):
        plot = f"document.querySelectorAll('.plot')[{place}]"
        driver.execute_script(f"{plot}.scrollIntoView({{block: 'center'}})")
        wait(driver, f"return {plot}.querySelector('canvas')")


def cells(driver: Any, column: str) -> list[str]:
    """Texts of a column of the table of candidates."""
    return driver.execute_script(
        "const all = [...document.querySelectorAll('#candidates th')];"
        "const place = all.findIndex((th) => th.textContent.replace(/ [▾▴]$/, '') === arguments[0]);"
        "const rows = [...document.querySelectorAll('#candidates tbody tr')];"
        "return rows.map((row) => row.children[place].textContent)",
        column,
    )


def clicked(driver: Any, trial: int) -> None:
    """Click on a candidate of the first run where the plot of rewards has drawn it."""
    from selenium.webdriver.common.action_chains import ActionChains

    scrolled(driver, "#rewards .plot")
    wait(driver, "return document.querySelector('#rewards canvas')")
    plot = driver.find_element("css selector", "#rewards .plot")
    x, y = driver.execute_script(
        "const chart = echarts.getInstanceByDom(arguments[0]);"
        "return chart.convertToPixel({seriesIndex: 0}, [arguments[1], report.runs[0].reward(arguments[1])])",
        plot,
        trial,
    )
    size = plot.size
    move = ActionChains(driver).move_to_element_with_offset(
        plot, round(x - size["width"] / 2), round(y - size["height"] / 2)
    )
    move.click().perform()
