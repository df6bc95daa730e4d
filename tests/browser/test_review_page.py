"""The review page in a real headless Chromium, from the file system and behind a web server."""

import csv
import functools
import http.server
import io
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from iliopsoas.qc import decisions, review

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u2028\'"&'


def write_page(folder, people, flagged=30, mask="abc"):
    """A page of `people` participants, worst first; the first ten refused readings are hostile."""
    rng = np.random.default_rng(5)
    key = pd.DataFrame({"eid": (1000001 + 7 * np.arange(people)).astype(str), "instance": "2"})
    male = rng.random(people) < 0.5
    total = np.where(male, rng.normal(814, 125, people), rng.normal(542, 72, people))
    difference = rng.normal(-7, 20, people)
    volumes = key.assign(
        status="ok",
        left_ml=(total + difference) / 2,
        right_ml=(total - difference) / 2,
        total_ml=total,
        difference_ml=difference,
        imi_ml_m2=total / 2.9,
        left_fat_fraction_median_percent=rng.normal(8, 2, people),
        segment_fingerprint=mask,
    )
    sample = key.assign(sex=np.where(male, "male", "female"), age=60, height_cm=170.0, bmi=25.0)
    qc = np.where(np.arange(people) < flagged, "review", "pass")
    verdicts = key.assign(qc=qc, score=np.arange(people)[::-1], flags="")
    flags = key[:flagged].assign(
        flag=np.where(np.arange(flagged) % 3, "touches_crop", "ends_flat"),
        value=1.0,
        limit=0.5,
        severity="review",
        reading=["reading " + HOSTILE] * flagged,
    )
    drawn = key[people - 20 :].assign(group="unflagged")
    picture = folder / "picture.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 30), 128).save(picture)
    wanted = pd.concat([key[:flagged], drawn[["eid", "instance"]]])
    review.build(
        folder / "review",
        volumes,
        verdicts,
        flags,
        sample,
        drawn,
        lambda eid, instance: picture,
        wanted=wanted,
    )
    return folder / "review"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium: the review page was not tried in a browser")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("small"), 400)


@pytest.fixture
def page(browser):
    """A fresh profile; every message of the console and every request is kept."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.messages, opened.requests = [], []
    opened.on("console", lambda message: opened.messages.append(message.text))
    opened.on("pageerror", lambda error: opened.messages.append(str(error)))
    opened.on("request", lambda request: opened.requests.append(request.url))
    yield opened
    assert opened.messages == []
    assert opened.evaluate("window.hacked") is None
    context.close()


def until(page, expression, seconds=20):
    """Wait for a JavaScript expression; asked from outside, since the page forbids eval."""
    for _ in range(seconds * 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never true: {expression}")


def text_is(page, element, text):
    until(page, f"document.getElementById('{element}').textContent == '{text}'")


def ready(page, turn=1):
    until(page, f"Number(document.body.dataset.ready) >= {turn}")


def visit(page, folder):
    page.goto((folder / "index.html").as_uri())
    ready(page)


def press(page, key):
    """Press a key and wait until the page is drawn again."""
    before = int(page.evaluate("document.body.dataset.ready"))
    page.keyboard.press(key)
    ready(page, before + 1)


def sign(page, initials):
    page.fill("#rater", initials)
    page.keyboard.press("Enter")
    until(page, "document.getElementById('progress').textContent.endsWith(' decided')")


def choose(page, name):
    page.click(f"[data-list='{name}']")
    page.wait_for_selector(f"[data-list='{name}'][aria-current]")


def saved(page):
    """The rows of the TSV that the save key downloads."""
    with page.expect_download() as download:
        page.keyboard.press("s")
    text = download.value.path().read_text()
    return list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)), text


def name(page):
    return page.inner_text("#name")


def test_it_opens_by_double_click_and_asks_nothing_of_any_network(page, page_folder):
    visit(page, page_folder)
    assert name(page) == "1000001"
    assert page.inner_text("#place") == "1\u201340 of 400"
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 40
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    assert page.locator("#histograms svg").count() == 4


def test_it_works_behind_a_web_server(page, page_folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=page_folder)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        here = f"http://127.0.0.1:{server.server_port}/"
        page.goto(here + "index.html")
        ready(page)
        assert name(page) == "1000001"
        assert all(url.startswith((here, "data:")) for url in page.requests)
    finally:
        server.shutdown()
        server.server_close()


def test_keys_decide_move_and_undo(page, page_folder):
    visit(page, page_folder)
    page.keyboard.press("a")  # nobody signed yet: nothing is decided
    page.wait_for_selector("#warning:not([hidden])")
    sign(page, "jf")
    for key in "ard":
        press(page, key)
    assert name(page) == "1000022"
    assert page.inner_text("#progress") == "3 decided"
    press(page, "p")
    assert page.inner_text("#decision") == "to re-do"
    press(page, "ArrowLeft")
    assert page.inner_text("#decision") == "rejected"
    press(page, "n")
    press(page, "u")  # takes back the re-do
    assert name(page) == "1000015"
    assert page.inner_text("#decision") == "undecided"
    rows, _ = saved(page)
    assert [(row["eid"], row["decision"], row["rater"]) for row in rows] == [
        ("1000001", "accept", "jf"),
        ("1000008", "reject", "jf"),
    ]
    assert rows[0]["judged"] == "abc"
    assert rows[0]["mode"] == "open"


def keys_at_once(page, *keys, repeat=False):
    """Key presses with nothing drawn between them, as a fast hand or a held key makes them."""
    before = int(page.evaluate("document.body.dataset.ready"))
    page.evaluate(
        """([keys, repeat]) => keys.forEach((key) => document.body.dispatchEvent(
            new KeyboardEvent("keydown", {key, repeat, bubbles: true, cancelable: true})))""",
        [keys, repeat],
    )
    if not repeat:
        ready(page, before + len(keys))


def test_fast_keys_decide_about_one_participant_each(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    keys_at_once(page, "a", "r", "D")  # the last with the capitals locked
    rows, _ = saved(page)
    assert [(row["eid"], row["decision"]) for row in rows] == [
        ("1000001", "accept"),
        ("1000008", "reject"),
        ("1000015", "redo"),
    ]


def test_a_key_held_down_decides_about_nobody_else(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    press(page, "a")
    keys_at_once(page, "a", "a", "a", repeat=True)
    press(page, "n")
    assert name(page) == "1000015"
    assert page.inner_text("#progress") == "1 decided"


def test_a_decision_on_an_earlier_mask_is_to_be_taken_again(page, tmp_path):
    visit(page, write_page(tmp_path, 60))
    sign(page, "jf")
    press(page, "r")
    press(page, "a")
    write_page(tmp_path, 60, mask="new")
    page.reload()
    ready(page)
    assert page.inner_text("#decision") == "rejected, an earlier mask"
    page.keyboard.press("e")
    page.keyboard.insert_text("seen again")
    page.keyboard.press("Enter")  # a note alone does not renew the decision
    press(page, "n")
    press(page, "a")
    rows, _ = saved(page)
    assert {(row["eid"], row["decision"], row["judged"]) for row in rows} == {
        ("1000001", "", "new"),
        ("1000008", "accept", "new"),
    }


def test_what_is_undone_after_saving_is_said_in_the_next_tsv(page, page_folder, tmp_path):
    visit(page, page_folder)
    sign(page, "jf")
    press(page, "r")
    _, first = saved(page)
    (tmp_path / "first.tsv").write_text(first.replace("Z\topen", "\topen"))  # earlier
    press(page, "u")
    assert page.inner_text("#decision") == "undecided"
    rows, second = saved(page)
    assert [(row["eid"], row["decision"]) for row in rows] == [("1000001", "")]
    (tmp_path / "second.tsv").write_text(second)
    assert decisions.combine(decisions.read(tmp_path)).empty
    page.reload()
    ready(page)
    assert page.inner_text("#decision") == "undecided"


def test_two_tabs_save_what_was_decided_in_both(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    other = page.context.new_page()
    visit(other, page_folder)
    press(other, "a")
    until(page, "reviewStore.count('jf') == 1")
    press(page, "n")
    press(page, "r")
    rows, _ = saved(page)
    assert {row["eid"]: row["decision"] for row in rows} == {
        "1000001": "accept",
        "1000008": "reject",
    }


def test_a_tsv_that_went_through_a_spreadsheet_is_read_back(page, page_folder, tmp_path):
    visit(page, page_folder)
    sheet = tmp_path / "sheet.tsv"
    sheet.write_bytes(
        b"\xef\xbb\xbfeid\tinstance\trater\tdecision\tnote\ttime\r\n"
        b'1000001\t2\tjf\tReject\t"cut, ""psoas"""\t2026-01-01T00:00:00Z\r\n\t\t\t\t\t\r\n'
    )
    page.set_input_files("#file", sheet)
    sign(page, "jf")
    text_is(page, "decision", "rejected")
    assert page.input_value("#note") == 'cut, "psoas"'


def test_decisions_survive_a_reload_and_raters_do_not_mix(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    press(page, "r")
    page.reload()
    ready(page)
    assert page.input_value("#rater") == "jf"
    assert page.inner_text("#decision") == "rejected"
    sign(page, "nb")
    ready(page)
    assert page.inner_text("#decision") == "undecided"
    press(page, "a")
    rows, _ = saved(page)
    assert {(row["eid"], row["rater"], row["decision"]) for row in rows} == {
        ("1000001", "jf", "reject"),
        ("1000001", "nb", "accept"),
    }


def test_a_flag_filters_and_undecided_only_passes_over_the_decided(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    choose(page, "flag:0")
    labels = page.locator("#rows .id").all_inner_texts()
    flag = page.inner_text("[data-list='flag:0'] .id")
    step = {"ends flat": range(0, 30, 3), "touches crop": [i for i in range(30) if i % 3]}[flag]
    assert labels == [str(1000001 + 7 * i) for i in step]
    press(page, "a")
    press(page, "a")
    page.check("#undecided")
    page.locator("#rows button").first.click()
    text_is(page, "name", labels[0])
    page.locator("#case").focus()
    press(page, "n")
    assert name(page) == labels[2]
    page.reload()
    ready(page)
    text_is(page, "name", labels[2])  # the work goes on where it was left


def test_a_hostile_note_stays_text_everywhere(page, page_folder, tmp_path):
    visit(page, page_folder)
    sign(page, "jf")
    assert HOSTILE[:20] in page.inner_text("#readings")
    page.keyboard.press("e")
    page.keyboard.insert_text("=1+1\t" + HOSTILE)
    page.keyboard.press("Enter")
    press(page, "r")
    press(page, "p")
    assert page.input_value("#note").startswith("=1+1 <img src=x")
    rows, text = saved(page)
    assert len(text.splitlines()) == 2
    assert rows[0]["note"].startswith("'=1+1 <img")
    page.evaluate("localStorage.clear()")
    page.reload()
    ready(page)
    kept = tmp_path / "kept.tsv"
    kept.write_text(text)
    page.set_input_files("#file", kept)
    sign(page, "jf")
    text_is(page, "decision", "rejected")
    assert page.input_value("#note").startswith("=1+1 <img src=x")
    assert page.locator("#case img").count() == 1
    read = decisions.read(kept)
    assert (read.loc[0, "decision"], read.loc[0, "eid"]) == ("reject", "1000001")


def test_a_foreign_file_is_refused_by_name(page, page_folder, tmp_path):
    visit(page, page_folder)
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text("eid\tinstance\n1\t2\n")
    page.set_input_files("#file", wrong)
    page.wait_for_selector("#warning:not([hidden])")
    assert "wrong.tsv cannot be used: column rater" in page.inner_text("#warning")


def test_a_newer_decision_wins_over_a_loaded_one(page, page_folder, tmp_path):
    visit(page, page_folder)
    sign(page, "jf")
    press(page, "a")
    old = tmp_path / "old.tsv"
    old.write_text(
        "eid\tinstance\trater\tdecision\tnote\ttime\n"
        "1000001\t2\tjf\treject\t\t2001-01-01T00:00:00Z\n"
        "1000008\t2\tjf\treject\tearlier\t2001-01-01T00:00:00Z\n"
    )
    page.set_input_files("#file", old)
    text_is(page, "decision", "rejected")
    rows, _ = saved(page)
    assert {row["eid"]: row["decision"] for row in rows} == {
        "1000001": "accept",
        "1000008": "reject",
    }


def test_the_blinded_sample_shows_pictures_alone(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    choose(page, "blinded")
    assert name(page) == "Blinded case 1"
    shown = page.inner_text("main") + page.inner_text("#listing")
    assert "10000" not in shown
    assert "ml" not in page.inner_text(".middle").split()
    until(page, "document.getElementById('blind').width == 40")  # the picture is there
    drawn = [str(1000001 + 7 * (380 + number)) for number in range(20)]
    assert not [eid for eid in drawn if eid in page.content()]
    press(page, "a")
    rows, _ = saved(page)
    assert rows[0]["mode"] == "blinded"
    assert rows[0]["eid"] == drawn[0]


def test_a_blinded_decision_is_kept_beside_an_open_one(page, page_folder):
    visit(page, page_folder)
    sign(page, "jf")
    first = str(1000001 + 7 * 380)
    page.fill("#query", first)
    page.keyboard.press("Enter")
    text_is(page, "name", first)
    press(page, "r")
    choose(page, "blinded")
    assert page.inner_text("#decision") == "undecided"  # what was seen openly would tell
    press(page, "a")
    choose(page, "all")
    assert page.inner_text("#progress") == "1 decided"
    rows, _ = saved(page)
    assert [(row["mode"], row["decision"]) for row in rows] == [
        ("open", "reject"),
        ("blinded", "accept"),
    ]


def test_the_page_has_names_for_everything_that_can_be_pressed(page, page_folder):
    visit(page, page_folder)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input:not([hidden])")].filter(
            (node) => !(node.textContent.trim() || node.getAttribute("aria-label")
                        || (node.labels && node.labels.length))).map((node) => node.outerHTML)"""
    )
    assert unnamed == []
    page.keyboard.press("?")
    assert page.locator("#helpbox").is_visible()
    page.keyboard.press("a")  # keys do nothing behind the help
    page.keyboard.press("Escape")
    assert not page.locator("#helpbox").is_visible()


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("large"), 100_000, flagged=900)


def test_a_hundred_thousand_participants_are_read_on_demand(page, large_folder):
    visit(page, large_folder)
    assert page.inner_text("#place") == "1\u201340 of 100,000"
    data = [url.rsplit("/", 1)[1] for url in page.requests if "/data/" in url]
    assert data == ["head.js", "rows-0.js"]  # nothing else before the first view
    read = sum((large_folder / "data" / file).stat().st_size for file in data)
    assert read < 1_000_000
    page.fill("#query", "1699994")
    page.keyboard.press("Enter")
    text_is(page, "name", "1699994")
    assert page.inner_text("#place") == "99,961\u2013100,000 of 100,000"
    assert "rows-199.js" in [url.rsplit("/", 1)[1] for url in page.requests]
    until(page, "document.getElementById('picture').naturalWidth == 40")  # drawn
    press(page, "p")
    choose(page, "verdict:pass")
    until(page, "document.getElementById('nopicture').hidden === false")
    assert "has no flag" in page.inner_text("#nopicture")
