"""The page at ``/`` in a real browser: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from PIL import Image

from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.serving import running

pytestmark = [pytest.mark.browser, pytest.mark.integration]

HOSTILE = (
    "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken'</script>"
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1300,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """A server of twelve pages, on which words count up with the page and budgets differ."""
    folder = tmp_path_factory.mktemp("served")
    words = [*("alpha", "beta", "gamma", "delta", "epsilon", "zeta"), *("eta", "theta", "iota")]
    words += ["kappa", "lambda", "mu"]
    pages = [
        Page(
            source="/private/greek.pdf",
            number=number,
            text=" ".join(words[: number + 1] * (1 + number % 3) + words[-number:]),
            image=Image.new("RGB", (300, 420), (20 * number, 90, 120)),
            page_count=12,
        )
        for number in range(1, 13)
    ]
    pages.append(
        Page(source="/private/evil.txt", text=f"hostile {HOSTILE}", metadata={"title": HOSTILE})
    )
    with PageIndex.open(folder / "index", FakeEncoder()) as index:
        index.add(pages)
        index.calibrate([" ".join(words[i : i + 3]) for i in range(10)] * 3, k=3)
        with running(index, uploads=folder / "uploads") as where:
            yield where


@pytest.fixture
def page(browser, address) -> SimpleNamespace:
    """The page, freshly opened, and ways to look at it."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    def until(true: Callable[[], object], what: str = "it") -> object:
        for _ in range(200):
            if found := true():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen")

    def script(text: str, *arguments: object) -> object:
        return browser.execute_script(f"return {text}", *arguments)

    def open(fragment: str = "") -> None:
        browser.get("about:blank")
        browser.get(f"{address}/#{fragment}")
        until(lambda: script("state.budgets.length > 0 && !!document.getElementById('sliderA')"))

    def hits(side: str = "A") -> list[str]:
        return script(
            "[...document.querySelectorAll(`#side${arguments[0]} .hit .title`)]"
            ".map(e => e.textContent)",
            side,
        )

    def keys(*typed: str) -> None:
        script("document.activeElement.blur()")
        ActionChains(browser).send_keys(*typed).perform()

    def find(id: str):
        return browser.find_element(By.ID, id)

    for log in ("browser", "performance"):
        browser.get_log(log)  # what was logged before is no matter of this test
    return SimpleNamespace(
        open=open, hits=hits, keys=keys, find=find, until=until, script=script, browser=browser
    )


def test_typing_searches_and_moving_the_budget_searches_again(page):
    page.open("budget=1,1&words=off")
    page.find("query").send_keys("gamma lambda mu")
    few = page.until(page.hits)
    assert page.find("priceA").text.startswith("1 × 1")
    for _ in range(10):
        page.keys("]")
    page.until(lambda: page.script("answers.a.budget.join()") == "16,64")
    assert page.hits() != few
    text = page.find("priceA").text
    assert "64 of 64" in text and " ms" in text and "100 %" in text and "expected recall" in text
    assert page.script("document.querySelectorAll('.moved').length") > 0


def test_dragging_the_slider_ends_at_the_last_budget_whatever_answers_come_late(page):
    page.open("q=gamma+lambda&budget=1,1&words=off")
    page.until(page.hits)
    page.script(
        "(async () => { const slider = document.getElementById('sliderA');"
        "for (let i = 0; i < 40; i++) { slider.value = i % 11;"
        "slider.dispatchEvent(new Event('input'));"
        "await new Promise(done => setTimeout(done, 15)); } window.dragged = true; })()"
    )
    page.until(lambda: page.script("window.dragged === true"))
    last = page.script("state.budgets[state.a].budget.join()")
    page.until(lambda: page.script("answers.a.budget.join()") == last)
    page.until(lambda: page.script("running.a === null"))
    assert page.script("answers.a.budget.join()") == last


def test_two_budgets_side_by_side_and_what_moved_is_marked(page):
    page.open("q=gamma+lambda+mu&budget=1,1&words=off")
    page.until(page.hits)
    page.keys("c")
    page.until(lambda: page.hits("B"))
    assert page.script("answers.b.budget.join()") == "16,64"
    same = [a == b for a, b in zip(page.hits("A"), page.hits("B"), strict=True)]
    page.until(
        lambda: (
            page.script("document.querySelectorAll('#sideB .hit.shifted').length")
            == same.count(False)
        )
    )
    assert same.count(False) > 0 and "on both sides" in page.find("status").text
    page.keys("c")
    page.until(lambda: page.find("sideB").get_attribute("hidden"))


def test_a_hit_opens_at_full_size_and_pages_turn(page):
    page.open("q=gamma+lambda+mu&words=off")
    page.until(page.hits)
    page.keys("j")
    from selenium.webdriver.common.keys import Keys

    page.keys(Keys.ENTER)
    page.until(lambda: page.script("document.getElementById('viewer').open"))
    page.until(lambda: page.script("document.querySelector('#paper img').naturalWidth") == 300)
    first = page.script("state.page.page")
    page.keys(Keys.ARROW_RIGHT if first < 12 else Keys.ARROW_LEFT)
    page.until(lambda: page.script("state.page.page") == (first + 1 if first < 12 else 11))
    assert f"page {first + 1 if first < 12 else 11} of 12" in page.find("viewerTitle").text
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.script("document.getElementById('viewer').open"))


def test_an_explanation_is_drawn_on_the_picture(page):
    """As the server says it; what is in it is tested where it is made."""
    page.open("q=gamma+lambda+mu&words=off")
    page.until(page.hits)
    page.script(
        "void (state.info.explains = true, window.json2 = call, call = async (path, options) =>"
        "path !== 'explain' ? json2(path, options) : new Response("
        "JSON.stringify({query: 'q', budget: [4, 8],"
        "id: state.page.id, source: 's', page: 1, score: 0.5,"
        "vectors: [{query: 0, page: 3, similarity: 0.7, share: 1}],"
        "passages: [{text: '<b>alpha</b>', start: 0, end: 5, score: 1, share: 0.3,"
        "boxes: [[0.1, 0.2, 0.5, 0.3]]}],"
        "words: [{word: 'beta', weight: 1.5, spans: [[6, 10]], boxes: [[0.5, 0.5, 0.6, 0.55]]}]})))"
    )
    page.script("openPage(state.hits[0].id)")
    page.until(lambda: page.script("document.querySelectorAll('#paper .frame').length") == 2)
    box = page.script(
        "(() => { const p = document.getElementById('paper').getBoundingClientRect(),"
        "f = document.querySelector('.frame').getBoundingClientRect();"
        "return [(f.left - p.left) / p.width, (f.top - p.top) / p.height, f.width / p.width] })()"
    )
    assert box == pytest.approx([0.1, 0.2, 0.4], abs=0.02)
    why = page.find("why").text
    assert "<b>alpha</b>" in why and "60 % of the score" in why and "beta" in why
    assert page.script("document.querySelectorAll('#why mark').length") == 2
    page.browser.refresh()


def test_words_and_the_file_are_options_of_the_search(page):
    page.open("q=alpha")
    page.until(page.hits)
    page.keys("h")
    page.until(
        lambda: page.script("state.words") == "on" and page.script("answers.a.scoring") == "hybrid"
    )
    page.keys("h")
    page.until(lambda: page.script("answers.a.scoring") == "maxsim")
    page.script("onlyFile('evil.txt')")
    page.until(lambda: len(page.hits()) == 1)
    assert page.hits()[0].startswith("evil.txt")
    assert "in=evil.txt" in page.browser.current_url
    page.browser.refresh()
    page.until(lambda: len(page.hits()) == 1)


def test_a_picture_is_searched_with(page, tmp_path):
    Image.new("RGB", (30, 42), (120, 90, 120)).save(tmp_path / "query.png")
    page.open("words=off")
    page.find("pick").send_keys(str(tmp_path / "query.png"))
    page.until(page.hits)
    assert page.script("!document.getElementById('picked').hidden")
    page.find("unpick").click()
    page.until(lambda: not page.hits())


def test_an_upload_shows_its_progress_and_can_be_deleted(page, tmp_path):
    (tmp_path / "fresh.md").write_text("# Walnut\n\nwalnut bread")
    page.open("q=walnut+bread")
    page.until(page.hits)
    page.keys("u")
    page.find("upload").send_keys(str(tmp_path / "fresh.md"))
    page.until(lambda: "1 page in" in page.find("uploads").text)
    page.until(lambda: page.hits()[0].startswith("fresh.md"))
    delete = page.until(
        lambda: page.script("document.querySelector('[aria-label=\"Delete fresh.md\"]')")
    )
    delete.click()
    page.find("sureYes").click()
    page.until(lambda: not page.hits()[0].startswith("fresh.md"))


def test_what_a_page_says_is_text_and_runs_nothing(page):
    page.open("q=hostile&words=on")
    page.until(lambda: any(hit.startswith("evil.txt") for hit in page.hits()))
    assert "onerror" in page.script("document.getElementById('sideA').textContent")
    page.script("openPage(state.hits.find(hit => hit.source === 'evil.txt').id)")
    page.until(lambda: "onerror" in page.find("viewer").text)
    assert (
        page.script(
            "document.querySelectorAll('img[src=\"x\"], .hits script, #viewer script').length"
        )
        == 0
    )
    assert "taken" not in page.browser.title


def test_it_asks_no_other_host_and_logs_no_error(page, address):
    page.open("q=gamma")
    page.until(page.hits)
    page.keys("c")
    page.until(lambda: page.hits("B"))
    logged = [json.loads(one["message"])["message"] for one in page.browser.get_log("performance")]
    asked = [
        one["params"]["request"]["url"]
        for one in logged
        if one["method"] == "Network.requestWillBeSent"
    ]
    assert asked and all(url.startswith((address, "data:", "about:")) for url in asked)
    page.browser.get(f"{address}/docs")
    page.until(lambda: page.script("document.querySelectorAll('details').length") >= 8)
    errors = [
        one for one in page.browser.get_log("browser") if one["level"] in ("SEVERE", "WARNING")
    ]
    assert errors == []


@pytest.mark.parametrize("width", [360, 390, 820])
def test_a_phone_s_width_shows_all_without_scrolling_sideways(page, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open("q=gamma&with=16,64")
        page.until(lambda: page.hits("B"))
        assert page.script("document.documentElement.scrollWidth") <= width
        for button in ("filesButton", "helpButton"):
            assert (
                page.script(
                    "document.getElementById(arguments[0]).getBoundingClientRect().right", button
                )
                <= width
            )
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_mode_follows_the_system_and_a_key(page):
    media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        page.open()
        background = "getComputedStyle(document.body).backgroundColor"
        assert page.script(background) == "rgb(17, 20, 26)"
        page.keys("d")
        assert page.script(background) == "rgb(244, 245, 248)"
    finally:
        page.script("localStorage.clear()")
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_with_a_token_the_page_asks_for_it_and_shows_pictures(page, tmp_path):
    token = "0123456789abcdef-secret"
    picture = Image.new("RGB", (30, 42), "red")
    with PageIndex.open(tmp_path / "index", FakeEncoder()) as index:
        index.add([Page(source="a.pdf", text="gamma", image=picture)])
        with running(index, token=token) as where:
            page.browser.get(f"{where}/#q=gamma")
            page.until(lambda: page.script("document.getElementById('login').open"))
            page.find("token").send_keys(token)
            page.find("loginForm").submit()
            page.until(page.hits)
            page.until(lambda: page.script("document.querySelector('.hit img').naturalWidth") == 30)
            assert page.script("document.querySelector('.hit img').src").startswith("blob:")
