"""Pages in a real browser: what they show, what they ask for, and what they do when somebody clicks or types."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.report.page import film_page, index_page, link
from avel_cli.timeline.events import Event, Timeline
from tests.report.browser import chromium, requests

EXAMPLE = Path(__file__).parents[2] / "examples" / "speakers_and_helicopter.mp4"
SCRIPT = "<script>document.title = 'taken over'</script>"
HOSTILE = Timeline(
    f"a/{SCRIPT}.mp4",
    10.0,
    (Event(0, 2, SCRIPT, 0.9), Event(1, 3, SCRIPT, 0.8), Event(4, 6, "</script><b>", 0.5, modality="heard")),
    warnings=("<img src=x onerror=alert(1)>",),
    model={"name": "{{ 7 * 7 }}"},
)


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    assert run(["report", str(EXAMPLE), "-m", "cace-net.starter", "-o", str(folder), "-q"]) == 0
    return folder / "speakers_and_helicopter.avel.html"


def opened(driver, path: Path):
    driver.get(path.as_uri())
    return driver


def wait(driver, condition: str) -> None:
    for _ in range(50):
        if driver.execute_script(f"return {condition}"):
            return
        time.sleep(0.1)
    raise AssertionError(f"never came true: {condition}")


def bars(driver) -> list[str]:
    return [bar.get_attribute("title") for bar in driver.find_elements("css selector", ".bar")]


def test_a_film_is_shown_and_steered(browser, page) -> None:
    requests(browser), browser.get_log("browser")
    opened(browser, page)
    wait(browser, "state.playable")
    found = bars(browser)
    assert any("helicopter" in title for title in found)
    bar = browser.find_element("css selector", ".lane[data-label=helicopter] .bar")
    bar.click()
    start = float(bar.get_attribute("data-start"))
    wait(browser, f"Math.abs(film.currentTime - {start}) < 0.01 && !film.seeking")
    assert "helicopter" in browser.find_element("id", "now").text
    assert "on" in bar.get_attribute("class").split()
    body = browser.find_element("tag name", "body")
    body.send_keys("k")
    wait(browser, f"!film.paused && film.currentTime > {start} + 0.1")
    body.send_keys("k")
    wait(browser, "film.paused")
    body.send_keys("p")
    wait(browser, f"film.currentTime <= {start} + 0.01")
    browser.find_element("css selector", "#rows button").click()
    wait(browser, "film.currentTime < 1")
    assert browser.get_log("browser") == []
    assert {address for address in requests(browser) if not address.startswith("data:")} == {
        page.as_uri(),
        EXAMPLE.as_uri(),
    }


def test_slider_and_filter_change_what_is_shown(browser, page) -> None:
    opened(browser, page)
    found = bars(browser)
    browser.execute_script("setLevel(0.02)")
    assert len(bars(browser)) > len(found)
    for _ in range(3):
        browser.find_element("id", "threshold").send_keys("\ue012")  # arrow to the left
    browser.find_element("tag name", "body").send_keys("[")
    browser.find_element("id", "reset").click()
    assert bars(browser) == found
    browser.find_element("id", "search").send_keys("helic")
    assert len(bars(browser)) < len(found) and all("helicopter" in title for title in bars(browser))


def test_the_slider_draws_what_detect_finds(browser, page) -> None:
    from avel_cli import Detector

    expected = Detector("cace-net.starter").detect(EXAMPLE, min_score=0.1)
    drawn = opened(browser, page).execute_script("setLevel(0.1); return state.events")
    assert [(event["label"], event["start"], event["end"]) for event in drawn] == [
        (event.label, event.start, event.end) for event in expected
    ]


def test_what_strangers_wrote_stays_text(browser, tmp_path) -> None:
    browser.get_log("browser")
    for name, text in {"a.html": film_page(HOSTILE), "b.html": index_page({f"{SCRIPT}.html": HOSTILE})}.items():
        (tmp_path / name).write_text(text)
        opened(browser, tmp_path / name)
        assert browser.title != "taken over"
        assert SCRIPT in browser.find_element("tag name", "body").text
        assert not browser.find_elements("css selector", "body img[src=x], body b")
    assert browser.get_log("browser") == []


def test_bars_of_one_lane_do_not_cover_each_other(browser, tmp_path) -> None:
    (tmp_path / "a.html").write_text(film_page(HOSTILE))
    opened(browser, tmp_path / "a.html")
    first, second = browser.find_elements("css selector", ".bar")[1:]
    assert first.rect["y"] + first.rect["height"] <= second.rect["y"]
    assert "heard" in browser.find_element("css selector", ".bar.heard").text


def test_an_hour_with_many_events_opens_at_once(browser, tmp_path) -> None:
    events = tuple(Event(1.8 * n, 1.8 * n + 1, f"label {n % 40}", 0.5) for n in range(2000))
    (tmp_path / "hour.html").write_text(film_page(Timeline("hour.mp4", 3601.0, events)))
    opened(browser, tmp_path / "hour.html")
    timing = "const [t] = performance.getEntriesByType('navigation'); return t.loadEventEnd - t.startTime"
    assert browser.execute_script("return document.querySelectorAll('.bar').length") == 2000
    assert browser.execute_script(timing) < 5000  # 2 s on a free machine


def test_nothing_is_wider_than_a_telephone(browser, page) -> None:
    metrics = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(browser, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 375
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_theme_is_that_of_the_system_until_it_is_changed(browser, page) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    seen = set()
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        opened(browser, page)
        before = browser.execute_script(colour)
        browser.find_element("id", "theme").click()
        assert browser.execute_script(colour) != before
        seen.add(before)
    assert len(seen) == 2


def test_links_are_relative_and_never_a_scheme(tmp_path) -> None:
    assert link(tmp_path / "a b#?%.mp4", tmp_path / "pages") == "./../a%20b%23%3F%25.mp4"
    assert link(tmp_path / "javascript:x.mp4", tmp_path) == "./javascript%3Ax.mp4"


def test_several_films_make_an_index(browser, tmp_path) -> None:
    for name, label in (("one", "dog"), ("two", "drum")):
        Timeline(f"{name}.mp4", 9.0, (Event(0, 2, label, 0.75),), (label,)).write(tmp_path / f"{name}.avel.json")
    saved = [str(tmp_path / f"{name}.avel.json") for name in ("one", "two")]
    assert run(["report", *saved, "-o", str(tmp_path), "-q"]) == 0
    opened(browser, tmp_path / "avel.html")
    browser.find_element("id", "search").send_keys("drum")
    [left] = [row.text for row in browser.find_elements("css selector", "#films tbody tr") if row.is_displayed()]
    assert left.startswith("two.mp4")
    browser.find_element("link text", "two.mp4").click()
    assert browser.title.startswith("two.mp4") and len(bars(browser)) == 1
    assert run(["report", *saved, "-o", str(tmp_path), "-q"]) == 2


def test_a_saved_timeline_opens_no_film_elsewhere(tmp_path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "film.mp4").write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "saved").mkdir()
    Timeline(str(tmp_path / "secret" / "film.mp4"), 20.0).write(tmp_path / "saved" / "a.json")
    assert run(["report", str(tmp_path / "saved" / "a.json"), "-o", str(tmp_path / "out"), "-q"]) == 0
    text = (tmp_path / "out" / "a.avel.html").read_text()
    assert "data:image" not in text and '"film": ""' in text
    films = ["--films", str(tmp_path / "secret")]
    saved = str(tmp_path / "saved" / "a.json")
    assert run(["report", saved, "-o", str(tmp_path / "out"), "-q", "--overwrite", "--embed", *films]) == 0
    assert "data:video/mp4;base64," in (tmp_path / "out" / "a.avel.html").read_text()
