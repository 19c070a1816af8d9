"""The page in a real browser, with the tiny model: it plays, switches and comes back."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed: the page was tried in no browser")

from playwright.sync_api import Page, expect, sync_playwright
from process_made import Served

CHROMIUM = os.environ.get("FRAMEROOF_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SLOW_MS = 60_000
LIVE = re.compile(r"^live(, resumed)?$")  # a browser that stood still for seconds was let go, and has come back
# What the canvas shows, as numbers, by way of another canvas that is made for being read.
PIXELS = """() => {
  const shown = document.getElementById("video");
  const copy = new OffscreenCanvas(shown.width, shown.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(shown, 0, 0);
  return [shown.width, shown.height, ...copy.getImageData(0, 0, shown.width, shown.height).data];
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"there is no {CHROMIUM}: the page was tried in no browser")
    with Served("a cat runs", "--grace", "120") as made:
        yield made
        code, rest = made.end()
        assert code == 0, rest
        assert "Traceback" not in rest


@pytest.fixture(scope="module")
def browser(served: Served) -> Iterator[Any]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(served: Served, browser: Any) -> Iterator[Page]:
    """The page as it is opened; anything it complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    made = context.new_page()
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    made.on("request", lambda asked: complaints.append(asked.url) if f":{served.port}/" not in asked.url else None)
    made.set_default_timeout(SLOW_MS)
    expect.set_options(timeout=SLOW_MS)
    made.goto(served.url)
    expect(made.locator("#status")).to_have_text(LIVE)
    yield made
    made.locator("#new").evaluate("() => socket && socket.close(1000)")  # frees the session's place
    context.close()
    assert complaints == []


def number(page: Page, id_: str) -> int:
    """The number in a field; -1 where there is none yet."""
    return int(re.sub(r"\D", "", page.locator(f"#{id_}").inner_text()) or -1)


def wait_for(page: Page, id_: str, least: int) -> None:
    """Until the number in a field is so high."""
    for _ in range(SLOW_MS // 50):
        if number(page, id_) >= least:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{id_} did not come to {least}")


def wait_for_block(page: Page, block: int) -> None:
    """Until a frame of this block, or of a later one, is on the canvas."""
    wait_for(page, "where-block", block)


def test_it_plays(page: Page):
    expect(page.locator("#notice")).to_contain_text("The weights are random: times are real, pictures are not.")
    seen = set()
    for frame in (0, 3, 20):
        wait_for(page, "where-frame", frame)
        width, height, *colors = page.evaluate(PIXELS)
        assert (width, height) == (48, 32)
        assert len(set(colors)) > 50  # a picture, and no plain color
        seen.add(tuple(colors))
    assert len(seen) == 3  # pixels change
    wait_for_block(page, 5)
    expect(page.locator("#inter")).to_have_text(re.compile(r"^\d+(\.\d)?$"))
    expect(page.locator("#fps")).to_have_text(re.compile(r"^(?!0\.0)\d+\.\d$"))
    expect(page.locator("#late")).to_have_text(re.compile(r"^\d+$"))


def test_it_switches_and_shows_the_latency(page: Page):
    wait_for_block(page, 0)
    page.fill("#prompt", "a fox runs <b>through</b> snow")
    page.press("#prompt", "Enter")
    top = page.locator("#log tr").first.locator("td")
    expect(top.nth(0)).to_have_text("a fox runs <b>through</b> snow")  # text, never markup
    expect(top.nth(1)).to_have_text(re.compile(r"^\d+$"))
    expect(top.nth(2)).to_have_text(re.compile(r"^\d+(\.\d)? ms$"))
    block = int(top.nth(1).inner_text())
    assert block >= 1
    expect(page.locator("#hint")).to_have_text(re.compile(rf"^Shown [\d.]+ ms after you asked, from block {block} on"))
    expect(page.locator("#prompt-now")).to_have_text("a fox runs <b>through</b> snow")
    assert number(page, "where-block") >= block
    assert float(page.locator("#visible").inner_text()) > 0
    expect(page.locator("#visible-about")).to_contain_text("block after less before")

    page.locator("#prompt").evaluate("field => { field.removeAttribute('maxlength'); field.value = 'x'.repeat(1001); }")
    page.click("#switch")
    expect(page.locator("#hint")).to_have_text("The prompt has 1,001 characters; at most 1,000 are taken.")


def test_it_pauses(page: Page):
    wait_for_block(page, 0)
    page.click("#pause")
    expect(page.locator("#status")).to_have_text("paused")
    page.wait_for_timeout(600)  # figures come twice a second
    expect(page.locator("#queue-about")).to_contain_text("; 0 on the way")
    still, frame = page.evaluate(PIXELS), number(page, "where-frame")
    page.wait_for_timeout(300)
    assert page.evaluate(PIXELS) == still
    page.click("#pause")
    expect(page.locator("#status")).to_have_text(LIVE)
    wait_for(page, "where-frame", frame + 1)


def test_it_comes_back_to_its_session(page: Page):
    wait_for_block(page, 1)
    page.fill("#prompt", "a fox")
    page.press("#prompt", "Enter")
    expect(page.locator("#prompt-now")).to_have_text("a fox")
    frame, session = number(page, "where-frame"), page.evaluate("() => sessionStorage.getItem('session')")

    page.evaluate("() => socket.close(4000)")  # the connection breaks, as far as the server can tell
    expect(page.locator("#status")).to_have_text("live, resumed")
    wait_for(page, "where-frame", frame + 1)
    expect(page.locator("#prompt-now")).to_have_text("a fox")

    page.reload()
    expect(page.locator("#status")).to_have_text("live, resumed")
    wait_for(page, "where-frame", frame + 1)
    assert page.evaluate("() => sessionStorage.getItem('session')") == session

    page.click("#new")
    expect(page.locator("#status")).to_have_text(LIVE)
    wait_for_block(page, 0)
    expect(page.locator("#prompt-now")).to_have_text("a cat runs")
    assert page.evaluate("() => sessionStorage.getItem('session')") != session


def test_it_fits_a_phone(page: Page):
    page.set_viewport_size({"width": 360, "height": 740})
    wait_for_block(page, 0)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    box = page.locator("#switch").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 740  # what is needed to switch is seen without scrolling
