"""The start page and the API page in a real browser: readable, accessible, both directions, no script needed."""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from civium.apps.web.journey import Journey, Step, save

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = {"phone": 360, "desktop": 1200}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), "as root: apt-get update && apt-get install --no-install-recommends -y chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS.keys())
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": request.param, "height": 800}, java_script_enabled=True)
    page = context.new_page()
    page.broken = []
    page.on("console", lambda message: page.broken.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda failed: page.broken.append(failed.url))
    yield page
    assert page.broken == []
    context.close()


@pytest.fixture(scope="module")
def told(platform) -> Journey:
    """A journey as the demo leaves it for the start page."""
    journey = Journey(
        (
            Step("captured", "officer", 3.0, ("demographics", "biometrics"), ("uin",)),
            Step("kyc", "relying-party", 9.0, ("fullName",), ("uin", "address")),
        ),
        9.5,
        700.0,
    )
    save(platform.home, journey)
    return journey


@pytest.mark.parametrize("language", ["eng", "ara"])
@pytest.mark.parametrize("path", ["/", "/api"])
def test_a_page_has_no_accessibility_fault_and_fits_its_screen(platform, told, page, path, language):
    page.goto(f"{platform.url}{path}?lang={language}")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.get_attribute("html", "dir") == ("rtl" if language == "ara" else "ltr")


def test_everything_that_runs_is_shown_as_working(platform, page):
    page.goto(platform.url)
    parts = page.locator(".states li")
    assert parts.count() == 5
    assert page.locator(".states li.up").count() == 5


def test_the_journey_is_told_with_what_each_party_saw_and_did_not(platform, told, page):
    page.goto(platform.url)
    steps = page.locator(".timeline > li")
    assert steps.count() == len(told.steps)
    last = steps.last
    assert "Relying party" in last.inner_text()
    assert last.locator(".learned dd").all_inner_texts() == ["name"]
    assert last.locator(".hidden dd").all_inner_texts() == ["UIN", "address"]


def test_the_page_needs_no_script(platform, told, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(platform.url)
    assert page.locator(".timeline > li").count() == len(told.steps)
    page.get_by_role("link", name="العربية").click()
    assert page.get_attribute("html", "lang") == "ar"
    context.close()


def test_links_lead_to_the_api_the_outbox_and_back(platform, page):
    page.goto(platform.url)
    page.get_by_role("link", name="The API, route by route").click()
    assert page.locator("tbody tr", has_text="/idauthentication/v1/auth/").count() == 1
    page.get_by_role("link", name="Start page").click()
    page.get_by_role("link", name="Mail and SMS").click()
    assert isinstance(json.loads(page.locator("body").inner_text()), list)


def test_every_text_is_there_in_every_language():
    catalogue = json.loads(resources.files("civium.apps.web").joinpath("catalogue.json").read_text("utf-8"))
    keys = {language: set(texts) for language, texts in catalogue.items()}
    assert keys["eng"] == keys["ara"]
    assert all(text.strip() for texts in catalogue.values() for text in texts.values())
