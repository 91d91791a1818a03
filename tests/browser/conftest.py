"""Fixtures of browser tests. Takes published runs, gives pages that may neither complain nor ask another host."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from service.control.submissions import Submissions
from service.http.app import Control
from tests.browser.pages import control_of, publish_all
from tests.support import browsers, serving
from workers.store.root import Root


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if browsers.found() is None:
        told = "no chromium on the path: install it (Debian: apt-get install chromium) or set DECONVOY_CHROMIUM"
        if os.environ.get("DECONVOY_REQUIRE_BROWSER"):
            pytest.fail(told)
        pytest.skip(told)
    with browsers.launched() as launched:
        yield launched


@pytest.fixture(scope="session")
def control(tmp_path_factory) -> Control:
    return control_of(Root(str(tmp_path_factory.mktemp("root"))))


@pytest.fixture(scope="session")
def submissions(control) -> Submissions:
    return control.submissions


@pytest.fixture(scope="session")
def address(control) -> Iterator[str]:
    root = control.submissions.root
    publish_all(root)
    with serving.served(root, control) as served:
        yield served


@pytest.fixture
def page(browser, address) -> Iterator[Any]:
    yield from watched(browser, address, viewport={"width": 1280, "height": 900})


@pytest.fixture
def phone(browser, address) -> Iterator[Any]:
    yield from watched(browser, address, viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)


def watched(browser: Any, address: str, **form: Any) -> Iterator[Any]:
    """A tab in which nothing may be said on the console, fail, open a dialog, or be asked of another host."""
    context = browser.new_context(base_url=address, **form)
    tab, wrong = context.new_page(), []
    tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda asked: asked.url.startswith((address, "data:")) or wrong.append(f"asked {asked.url}"))
    tab.on("response", lambda given: given.status < 400 or wrong.append(f"{given.status}: {given.url}"))
    yield tab
    context.close()
    assert not wrong, wrong
