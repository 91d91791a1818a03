"""The atlas in a real browser: walked, sorted, searched, by mouse and by keyboard, on a desk and on a phone."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe

from service.control.schedules import Schedules
from service.control.timetable import Schedule
from tests.browser.pages import PAGES
from tests.support.instrumented import COLUMNS, SIZE, STRIDE
from tests.support.published import CHANNELS, DEAD
from tests.unit.service.atlas.test_hostile import BAD
from workers.kinds import Kind
from workers.spec.plain import PlainSpec
from workers.store.attempts import Attempts, Ended, Progress

SHIFTS = """() => new Promise((done) => {
  let moved = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((each) => { moved += each.value; }))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(moved), 300);
})"""
CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const said = [...document.querySelectorAll("body *")].filter((each) =>
    each.checkVisibility() && [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return said.filter((each) => !each.closest("svg")).map((each) => {
    const [a, b] = [light(getComputedStyle(each).color), light(ground(each))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), each.tagName + ": " + each.textContent.trim().slice(0, 30)];
  }).sort((one, other) => one[0] - other[0])[0];
}"""


def channels(page) -> list[int]:
    return [
        int(text) for text in page.locator(".wall li a > span").evaluate_all("all => all.map(e => e.firstChild.data)")
    ]


def test_one_walks_from_the_runs_to_a_patch(page):
    page.goto("/")
    page.get_by_role("link", name="scan first").click()
    page.get_by_role("link", name="relu2", exact=True).click()
    fourth = page.locator(".wall li").nth(4).get_attribute("data-channel")
    page.locator(".wall li > a").nth(4).click()
    assert page.get_by_role("heading", level=1).inner_text().startswith(f"channel {fourth}")
    assert page.locator(".grid img").count() == 18
    for picture in page.locator(".grid img").all():
        picture.evaluate("e => e.decode()")
        assert picture.evaluate("e => e.naturalWidth") > 20
    name = page.locator(".grid a").first.get_attribute("title")
    page.locator(".rows a").first.click()
    assert page.get_by_role("heading", level=1).inner_text() == name
    page.get_by_role("link", name="Deconvoy").click()
    assert page.url.endswith("/")


def test_a_patch_is_shown_large_beside_its_projection(page):
    page.goto("/runs/first/layers/relu2/channels/3")
    page.locator(".grid").nth(1).locator("a").nth(2).hover()
    assert page.locator(".lit").count() == 3  # patch, projection and row
    assert page.locator("tr.lit td").first.inner_text() == "2"
    page.locator(".grid a").nth(2).click()
    dialog = page.get_by_role("dialog")
    kinds = dialog.locator("img").evaluate_all("all => all.map(e => e.src.match(/2\\/(patch|projection)/)[1])")
    assert kinds == ["patch", "projection"] and "Rank 2" in dialog.inner_text()
    for rank in (3, 4):
        page.keyboard.press("ArrowRight")
        assert f"Rank {rank}" in dialog.inner_text() and page.url.endswith("/channels/3")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_exact_fields_are_one_click_away(page):
    page.goto("/runs/first/layers/relu2/channels/3")
    assert "/exact?" not in page.locator(".grid img").first.get_attribute("src")
    page.get_by_role("link", name="Show the exact fields").click()
    assert "/0/patch/exact?" in page.locator(".grid img").first.get_attribute("src")
    page.get_by_role("link", name="→").click()
    assert page.url.endswith("/channels/4?view=exact")
    page.get_by_role("link", name="Fill the tiles").click()
    assert page.url.endswith("/channels/4")


def test_a_tile_of_a_wall_is_shown_large_with_its_projections(page):
    page.goto("/runs/first/layers/relu1")
    page.locator(".wall li > a").nth(1).hover()
    page.locator(".peek img").first.wait_for()
    kinds = page.locator(".peek img").evaluate_all("all => all.map(e => e.src.match(/wall\\/(patch|projection)/)[1])")
    assert kinds == ["patch", "projection"]
    page.mouse.move(2, 2)
    assert page.locator(".peek").is_hidden()


def test_selected_channels_have_a_link(page):
    page.goto("/runs/first/layers/relu1?sort=channel")
    for number in (3, 7):
        page.get_by_role("button", name=f"select channel {number}", exact=True).click()
    page.get_by_role("link", name="Link to 2 selected channels").click()
    assert channels(page) == [3, 7] and "channels=3+7" in page.url
    page.goto("/runs/first/layers/relu1?channels=7,3&sort=channel&size=L")
    assert channels(page) == [3, 7] and page.locator(".size-L").count() == 1


def test_a_slash_begins_a_search(page):
    page.goto("/runs/first")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=cat")
    labelled = page.locator(".wall li em").all_inner_texts()
    assert labelled and set(labelled) == {"cat"}


def test_a_box_on_an_image_shows_its_patch_and_projection(page):
    page.goto("/runs/first/image?id=cat1/003.png")
    lens = page.locator("[data-lens]")
    assert lens.locator("img").count() == 2  # the first unit's, before anything is hovered
    first = lens.inner_text()
    page.locator("li[data-unit='2']").hover()
    assert lens.locator("img").count() == 2 and lens.inner_text() != first
    assert page.locator("rect[data-unit='2']").get_attribute("class") == "lit"
    page.mouse.move(5, 5)
    assert page.locator(".lit").count() == 0
    sizes = "all => all.map(e => e.getBoundingClientRect()).map(b => b.width * b.height)"
    areas = page.locator(".boxes rect").evaluate_all(sizes)
    assert areas == sorted(areas, reverse=True)  # small ones lie above, where the pointer finds them
    page.locator(".boxes rect").last.hover()
    assert page.locator("rect.lit").count() == 1 and page.locator("rect.lit").evaluate("e => !e.nextElementSibling")
    page.mouse.move(5, 5)
    page.locator("li[data-unit='1'] a").focus()
    assert page.locator("rect[data-unit='1']").get_attribute("class") == "lit"


def test_a_wall_is_sorted_filtered_and_switched(page):
    page.goto("/runs/first/layers/relu1")
    assert channels(page)[-1] == DEAD  # the most selective channels come first
    page.get_by_label("sort by").select_option("channel")
    page.wait_for_url("**sort=channel**")
    assert channels(page) == list(range(CHANNELS["relu1"]))
    page.get_by_label("sort by").select_option("max")
    page.wait_for_url("**sort=max**")
    assert channels(page)[:2] == [19, 18]
    page.get_by_label("from", exact=True).fill("150")
    page.get_by_role("button", name="apply").click()
    page.wait_for_url("**at_least=150**")
    assert channels(page) == [19, 18, 17, 16, 15, 14]
    page.get_by_label("show").select_option("projection")
    page.wait_for_url("**show=projection**")
    assert channels(page) == [19, 18, 17, 16, 15, 14]  # what was chosen stays
    assert "/wall/projection?" in page.locator(".wall img").first.get_attribute("src")
    page.goto("/runs/first/layers/relu1")
    page.locator("select[name=only]").select_option("dead")
    page.wait_for_url("**only=dead**")
    assert channels(page) == [DEAD]


def test_the_search_finds_layers_channels_labels_and_images(page):
    page.goto("/")
    for words, heading in (("relu2 3", "channel 3"), ("cat0/004", "cat0/004.png"), ("fc", "fc"), ("cat", "cat")):
        box = page.get_by_role("searchbox")
        box.fill(words)
        box.press("Enter")
        page.wait_for_url("**/search?**")
        page.locator(".wall a" if heading.startswith("channel") else ".found a").first.click()
        assert page.get_by_role("heading", level=1).inner_text().startswith(heading)


def test_arrows_turn_channels_and_move_on_walls(page):
    page.goto("/runs/first/layers/relu2/channels/5")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/channels/0")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/channels/5")
    page.get_by_role("searchbox").press("ArrowLeft")  # belongs to the box
    assert page.url.endswith("/channels/5")
    page.goto("/runs/first/layers/relu1?sort=channel")
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement.getAttribute('href')"
    assert page.evaluate(focused).endswith("/channels/0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    below = int(page.evaluate(focused).rpartition("/")[2])
    boxes = [page.locator(".wall a").nth(n).bounding_box() for n in (1, below)]
    assert boxes[0]["x"] == boxes[1]["x"] and boxes[1]["y"] > boxes[0]["y"]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/channels/{below}")


def test_the_first_stop_of_the_tab_key_skips_to_the_pictures(page):
    page.goto("/runs/first/layers/relu1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Deconvoy"


def test_two_runs_are_put_side_by_side(page):
    page.goto("/")
    page.get_by_label("Compare").select_option("first")
    page.get_by_label("with").select_option("second")
    page.get_by_role("button", name="Compare").click()
    assert page.locator(".twos li").count() == CHANNELS["fc"]
    page.get_by_role("link", name="relu2").click()
    assert page.locator(".twos li").count() == CHANNELS["relu2"]
    assert "100 % shared" in page.locator(".twos li").first.inner_text()


def test_the_slider_and_the_pointer_move_the_square(page):
    page.goto("/runs/covered/rows/0")
    page.locator("output", has_text="hidden").wait_for()
    page.get_by_role("slider").fill("7")
    row, column = divmod(7, COLUMNS)
    told = page.locator("output").inner_text()
    assert (
        f"Rows {row * STRIDE} to {row * STRIDE + SIZE}, columns {column * STRIDE} to {column * STRIDE + SIZE}" in told
    )
    assert "7 % of the activation" in told and "cat 100 %" in told and "most probable: cat" in told
    square = page.locator("[data-square]")
    assert [square.get_attribute(name) for name in ("x", "y")] == [str(column * STRIDE), str(row * STRIDE)]
    page.locator("[data-map]").first.hover(position={"x": 2, "y": 2})
    told = page.locator("output").inner_text()
    assert told.startswith(f"Rows 0 to {SIZE}, columns 0 to {SIZE} hidden: 0 %") and "most probable: class 7" in told
    page.get_by_role("slider").press("ArrowRight")
    assert f"columns {STRIDE} to {STRIDE + SIZE}" in page.locator("output").inner_text()


def test_a_submitted_run_is_watched_as_it_goes(page, submissions):
    spec = {"run": "flowers", "model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "/photos"}}
    submissions.submit("scan", spec)
    page.goto("/")
    page.get_by_role("link", name="flowers").click()
    state, done = page.locator("[data-of=state]"), page.locator("[data-of=done]")
    assert state.inner_text() == "running"
    attempts = Attempts(submissions.root, "flowers")
    rejects, shares = {"too_large": 2, "damaged": 1}, {"decode": 0.25, "store": 0.05, "compute": 0.7}
    now = datetime.now(UTC).isoformat()
    attempts.report_progress(1, Progress(now, "scan", 1234, 2468, "images", rejects, 250.0, 5.0, shares))
    page.locator("[data-of=done]", has_text="1,234").wait_for()
    assert page.get_by_role("progressbar").evaluate("e => e.value") == 0.5
    lists = [page.locator(f"[data-of={name}]") for name in ("rejected", "time")]
    told = [each.inner_text() for each in lists]
    assert told == ["1 damaged, 2 too large", "compute 70 %, decode 25 %, store 5 %"]
    page.reload()  # the server writes what the events do
    assert [each.inner_text() for each in lists] == told
    assert "log of flowers.1" in page.locator(".log").inner_text()
    assert page.get_by_role("button", name="Resume the run").is_hidden()
    attempts.end(1, Ended(datetime.now(UTC).isoformat(), 2, "no layer 'relu9' in the model"))
    page.locator("[data-of=says]", has_text="no layer 'relu9'").wait_for()
    assert state.inner_text() == "failed" and done.is_visible()
    page.get_by_role("button", name="Resume the run").click()
    page.locator("[data-of=attempt]", has_text="2").wait_for()
    page.get_by_role("button", name="Cancel the run").click()
    page.locator("[data-of=state]", has_text="cancelled").wait_for()


def test_a_note_is_written_shown_and_found(page):
    page.goto("/runs/second/layers/relu2/channels/4")
    page.get_by_text("Write a note").click()
    page.get_by_label("the note on this channel").fill("striped ears")
    page.get_by_role("button", name="Save").click()
    page.locator(".note", has_text="striped ears").wait_for()
    page.goto("/search?q=striped")
    assert "striped ears" in page.locator(".wall li q").first.inner_text()
    page.goto("/runs/first/layers/relu2/channels/4")
    page.get_by_text("Change the note").click()
    page.get_by_label("the note on this channel").fill("")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Write a note").wait_for()


def test_schedules_are_paused_and_run_by_hand(page, submissions):
    schedules = Schedules(submissions.root, submissions)
    spec = {"model": {"source": "deconvoy://zfnet-mini"}, "corpus": {"source": "/photos"}}
    schedules.add(Schedule("nightly", "0 2 * * *", "UTC", Kind.SCAN, PlainSpec(spec)))
    page.goto("/")
    page.get_by_role("link", name="Schedules").click()
    row = page.locator("tbody tr")
    assert "zfnet-mini on photos" in row.inner_text() and "02:00" in row.inner_text()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    assert "paused" in row.inner_text()
    page.get_by_role("button", name="Run now").click()
    page.locator("tbody tr a").wait_for()
    assert page.locator("tbody tr a").get_attribute("href").startswith("/runs/nightly-")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_quiet_light_readable_does_not_jump_and_is_narrow_and_dark_where_it_should(page, path):
    sizes: list[int] = []
    page.on("response", lambda answer: answer.request.resource_type != "image" and sizes.append(len(answer.body())))
    page.goto(path, wait_until="networkidle")
    assert sum(sizes) < 200_000  # bytes before the pictures
    assert page.evaluate(SHIFTS) < 0.005
    least, where = page.evaluate(CONTRAST)
    assert least >= 4.5, where
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("h1").count() == 1 and page.title().removesuffix("Deconvoy").strip(" ·")
    assert page.evaluate("[...document.images].every(e => !e.complete || e.naturalWidth > 0)")
    found = Axe().run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert not serious, [(fault["id"], [node["html"][:200] for node in fault["nodes"][:3]]) for fault in serious]
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    assert_fits_a_phone_in_the_dark(page)


@pytest.mark.parametrize(
    "path", ["/", "/runs/first", "/runs/first/layers/relu1", "/runs/first/layers/relu2/channels/3"]
)
def test_a_link_that_is_shared_has_a_description_and_a_picture(page, address, path):
    page.goto(path)
    assert len(page.locator("meta[name=description]").get_attribute("content")) > 20
    picture = page.locator("meta[property='og:image']").get_attribute("content")
    assert picture.startswith(address) and page.request.get(picture).headers["content-type"].startswith("image/")


@pytest.mark.parametrize("path", PAGES[:1] + PAGES[3:4] + PAGES[7:13])
def test_a_page_fits_a_phone_that_is_touched(phone, path):
    phone.goto(path, wait_until="networkidle")
    assert_fits_a_phone_in_the_dark(phone)


def assert_fits_a_phone_in_the_dark(phone) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    least, where = phone.evaluate(CONTRAST)
    assert least >= 4.5, where
    assert phone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 16, 17)"


def test_every_page_works_without_its_script(browser, address):
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/runs/first/layers/relu1")
    page.get_by_label("sort by").select_option("max")
    page.get_by_role("button", name="apply").click()
    assert page.locator(".wall a").first.get_attribute("href").endswith("/channels/19")
    page.goto("/runs/covered/rows/0")
    assert page.get_by_alt_text("probability panel").is_visible()
    context.close()


@pytest.mark.parametrize("name", BAD[:-1], ids=range(len(BAD) - 1))
def test_bad_names_do_nothing_in_a_browser(page, name):
    for path in (f"image?{urlencode({'id': name})}", f"label?{urlencode({'name': name})}", "layers/relu2/channels/1"):
        page.goto(f"/runs/hostile/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.goto(f"/search?{urlencode({'q': name})}")
    page.locator(".found a").last.click()
    assert page.locator("h1").text_content().split() == name.split()


def test_a_wall_of_two_thousand_channels_is_drawn_and_scrolled(page):
    page.goto("/runs/wide/layers/relu1")
    assert page.locator(".wall li").count() == 2048
    first, last = page.locator(".wall img").first, page.locator(".wall img").last
    first.evaluate("e => e.decode()")
    assert not last.evaluate("e => e.complete && e.naturalWidth > 0")  # it waits until it is looked at
    last.scroll_into_view_if_needed()
    last.evaluate("e => e.decode()")
    assert last.evaluate("e => e.naturalWidth") > 20
