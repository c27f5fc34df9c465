"""A headless Chromium for tests, where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A driver of Chromium that keeps its console and its network log."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not service:
        pytest.skip("chromium and chromedriver are not here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    switches = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "mute-audio"]
    for switch in [*switches, "autoplay-policy=no-user-gesture-required", f"window-size={width},{height}"]:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    try:
        yield driver
    finally:
        driver.quit()


def requests(driver: Any) -> list[str]:
    """The addresses that were asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]
