"""The page of a comparison: needs nothing else, escapes everything, and works in a real browser."""

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from pages import Page
from saddle.records.record import Record
from saddle.reports.comparison import compare
from saddle.reports.comparison_page import comparison_page
from saddle.reports.curves import number
from saddle.reports.plots import WIDTH, Line, lines
from saddle.reports.selection import find, read
from synthetic import grid, record, sweep_with_an_index


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Any:
    """Path of a page of 4 groups, 4 seeds each, one more run having failed."""
    folder = tmp_path_factory.mktemp("page")
    grid(folder / "runs", pixels=40)
    record(folder / "runs" / "failed", seed=4, status="failed")
    path = folder / "comparison.html"
    path.write_text(comparison_page(compare(read(find([str(folder / "runs")])))), "utf-8")
    return path


def test_the_page_needs_nothing_else(page):
    text = page.read_text("utf-8")
    found = Page(text)
    for tag, attributes in found.tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:"), tag
    assert re.findall(r"https?://[\w./]+", text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert "@import" not in text
    assert {"link", "iframe"}.isdisjoint(tag for tag, _ in found.tags)


def test_the_page_says_what_was_counted_and_shows_every_group(page):
    text = Page(page.read_text("utf-8")).text
    assert "17 runs in 4 groups: 16 finished, 1 failed." in text
    for group in ("loss=hinge optimizer.lr=0.0001", "loss=minimax optimizer.lr=0.001"):
        assert group in text


def test_a_name_from_a_record_cannot_become_markup(tmp_path):
    evil = "</script><script>alert(1)</script>"
    record(tmp_path / "a", loss=evil)
    record(tmp_path / "b", loss='"><img src=x onerror=alert(1)>')
    summary = Record(tmp_path / "a").summary
    summary.write_text(summary.read_text().replace("undecided", "<b>undecided</b>"))
    found = Page(comparison_page(compare(read(find([str(tmp_path)])))))
    assert len(found.named("script")) == 2  # the data of the scatter plot, and the page's own
    assert found.named("img") == []
    assert f"loss={evil}" in found.text


def test_a_comparison_of_forty_runs_stays_below_a_megabyte(tmp_path):
    for group in range(10):
        for seed in range(4):  # noise compresses worse than any real picture
            record(tmp_path / f"{group}-{seed}", lr=1e-4 * 2**group, seed=seed, pixels=256)
    text = comparison_page(compare(read(find([str(tmp_path)]))))
    assert text.count("data:image/jpeg") > 10
    assert len(text.encode()) < 1_000_000


@pytest.mark.parametrize("last", [1500, 100_000, 1_000_000])
def test_the_label_of_the_last_step_lies_within_the_figure(last):
    line = Line(0, 0, "a", [0, last], [1.0, 2.0], [None, None], [None, None])
    svg = str(lines("fid", [line], x_label="generator step", y_label="fid"))
    (x,) = re.findall(rf'<text x="([\d.]+)"[^>]*>{number(last)}</text>', svg)
    digits = len(str(last))
    wide = 6.7 * digits + 2.2 * ((digits - 1) // 3)  # DejaVu Sans at 10.5, the widest of the usual fonts
    assert float(x) + wide / 2 <= WIDTH


def test_jobs_without_a_record_have_a_row_among_the_runs(tmp_path):
    sweep_with_an_index(tmp_path)
    text = Page(comparison_page(compare(read(find([str(tmp_path)]))))).text
    assert text.count("loss-minimax_seed-1") == text.count("loss-minimax_seed-2") == 2  # a note and a row
    assert text.count("loss-wasserstein_seed-0") == 1  # a note: no group of the page asks its question


def test_a_page_without_pictures_or_evaluations_is_whole(tmp_path):
    record(tmp_path / "a", fid=(), recall=(), status="failed")
    assert "1 run in 1 group: 1 failed." in Page(comparison_page(compare(read(find([str(tmp_path)]))))).text


@pytest.fixture(scope="module")
def browser(page) -> Iterator[Any]:
    """Debian's chromium with the page open; nothing is fetched to drive it."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver must be on the PATH: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is an extra: pip install '.[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "window-size=1280,900",
    ):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ["SE_AVOID_STATS"] = "true"
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        found.get(page.as_uri())
        yield found
    finally:
        found.quit()


def cells(browser: Any, column: int, table: str = ".overview") -> list[str]:
    """Visible text of a column of the first such table."""
    script = """return [...document.querySelector(arguments[0]).tBodies[0].rows].filter(row => !row.hidden)
        .map(row => row.cells[arguments[1]].firstElementChild?.tagName === "B"
            ? row.cells[arguments[1]].firstElementChild.textContent : row.cells[arguments[1]].textContent)"""
    return browser.execute_script(script, table, column)


def headers(browser: Any, table: str = ".overview") -> list[Any]:
    return browser.find_elements("css selector", f"{table} thead button")


@pytest.mark.slow
def test_a_click_on_a_header_sorts_by_value_and_a_second_one_turns_it_round(browser):
    names = [button.text for button in headers(browser)]
    column = names.index("fid ↓")
    headers(browser)[column].click()
    values = [float(text) for text in cells(browser, column)]
    assert values == sorted(values)
    assert values[-1] > 20
    assert headers(browser)[column].find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    headers(browser)[column].click()
    assert [float(text) for text in cells(browser, column)] == values[::-1]
    headers(browser)[names.index("optimizer.lr")].click()
    assert cells(browser, 1) == ["0.0001", "0.0001", "0.001", "0.001"]


@pytest.mark.slow
def test_runs_without_a_value_stay_last_whichever_way_the_table_is_sorted(browser):
    column = [button.text for button in headers(browser, ".runs")].index("fid ↓")
    for _ in range(2):
        headers(browser, ".runs")[column].click()
        assert cells(browser, column, ".runs")[-1] == number(None)


@pytest.mark.slow
def test_the_filter_hides_rows_lines_and_marks_that_lack_a_word(browser):
    field = browser.find_element("id", "filter")
    field.send_keys("hinge lr=0.001")
    assert cells(browser, 0) == ["hinge"]
    assert len(cells(browser, 0, ".runs")) == 5
    assert browser.find_element("id", "shown").text == "1 of 4 groups"
    script = """return [...document.querySelectorAll("figure g[data-group]")]
        .filter(part => getComputedStyle(part).display !== 'none').map(part => part.dataset.group)"""
    assert {*browser.execute_script(script)} == {"1"}
    field.clear()
    field.send_keys("collapsed")
    assert cells(browser, 0) == ["minimax"]
    field.clear()
    field.send_keys(" ")
    assert len(cells(browser, 0)) == 4
    assert {*browser.execute_script(script)} == {"0", "1", "2", "3"}
    field.clear()


@pytest.mark.slow
def test_hovering_tells_what_a_mark_and_a_cell_stand_for(browser):
    from selenium.webdriver import ActionChains

    tip = browser.find_element("id", "tip")
    for selector, told in (
        (
            ".panels [data-group='3'] .mark:last-child",
            "loss=minimax optimizer.lr=0.001\ngenerator step 200: 23.",
        ),
        (".overview td b", "fid, last: mean over 4 of 4 runs\nseed 0: 3."),
    ):
        mark = browser.find_element("css selector", selector)
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
        ActionChains(browser).move_to_element(mark).perform()
        assert tip.is_displayed()
        assert tip.text.startswith(told)


@pytest.mark.slow
def test_any_two_columns_can_be_plotted_run_by_run(browser):
    from selenium.webdriver.support.select import Select

    figure = browser.find_element("css selector", ".scatter")
    Select(figure.find_element("css selector", "select.x")).select_by_visible_text("optimizer.lr")
    Select(figure.find_element("css selector", "select.y")).select_by_visible_text("best/fid")
    names = [text.get_attribute("textContent") for text in figure.find_elements("css selector", "svg .name")]
    assert names == ["optimizer.lr", "best/fid"]
    assert len(figure.find_elements("css selector", "svg .mark")) == 16  # the failed run has no best


@pytest.mark.slow
def test_the_page_reports_no_error_and_does_not_scroll_sideways_at_1280_pixels(browser):
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
