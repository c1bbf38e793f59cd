"""report.html: one offline page that runs nothing, whatever the names; every number leads to its trials."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from analysis.__main__ import main
from tests.support.browser import CHROMIUM, Browser, needs_chromium
from tests.support.stores import GOLDEN, add, ask
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

STUDY_CLAIMS = Path(__file__).parents[2] / "analysis/claims/study_claims.yaml"
HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Tags, ids and links of a page, and whether every element that opens closes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.titles, self.open = set(), [], [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.titles += tag == "title"
        self.ids += [found["id"]] if "id" in found else []
        self.links += [value for name, value in found.items() if name in ("href", "src", "xlink:href") and value]
        assert not [name for name in found if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def golden_out(tmp_path_factory):
    root = shutil.copytree(GOLDEN, tmp_path_factory.mktemp("golden") / "golden")
    out = root.parent / "out"
    assert main([str(root), "--out", str(out), "--figures", "svg"]) == 0
    return out


def hostile_store(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(model=HOSTILE, dataset=r"\input{x}", seed=seed) for seed in (1, 2, 3)]
    ask(store, specs)
    for spec in specs:
        add(store, spec, [0.5 + spec.seed / 100])
    failed = make_spec(model="other", seed=1, method='"><img src=x onerror=alert(2)>')
    add(store, failed, [0.1], Status.FAILED)
    return store


@pytest.mark.slow
def test_the_page_is_whole_and_fetches_nothing(golden_out):
    text = (golden_out / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert "default-src 'none'" in text
    assert not [link for link in page.links if re.match(r"(https?:)?//", link)]
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.slow
def test_every_number_leads_to_its_trials_and_their_spec(golden_out):
    text = (golden_out / "report.html").read_text()
    page = Page(text)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    cells = {link for link in inside if link.startswith("cell-")}
    assert len(cells) == 3
    scores = re.search(r'<table class="scores">.*?</table>', text, re.DOTALL).group()
    assert len(re.findall(r'<a href="#cell-', scores)) == 2
    settings = re.search(r'id="all-settings">.*?</table>', text, re.DOTALL).group()
    assert len(set(re.findall(r'<a href="#(cell-[0-9a-f]+)"', settings))) == 2
    folders = [link for link in page.links if "/trials/" in link]
    assert len(folders) == 9
    assert all((golden_out / link / "spec.json").exists() for link in folders)


@pytest.mark.slow
def test_curves_carry_their_values_for_hovering(golden_out):
    page = Page((golden_out / "report.html").read_text())
    assert page.titles > 3 * 3  # the page's own, and one an epoch of each cell at least


@pytest.mark.slow
def test_claims_that_no_trial_can_test_are_shown_only_when_asked_for(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed) for seed in (1, 2, 3)]
    ask(store, specs)
    for spec in specs:
        add(store, spec, [0.5 + spec.seed / 100])
    for more, shown in (([], False), (["--claims", str(STUDY_CLAIMS)], True)):
        assert main([str(store.root), "--out", str(tmp_path / "out"), "--figures", "none", *more]) == 0
        assert ("## Claims" in (tmp_path / "out/report.md").read_text()) == shown


@pytest.mark.slow
def test_hostile_names_are_text(tmp_path, make_spec, capsys):
    store = hostile_store(tmp_path, make_spec)
    out = tmp_path / "out"
    assert main([str(store.root), "--out", str(out)]) == 0
    text = (out / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "img"}
    assert "&lt;script&gt;" in text
    prose = [line for line in (out / "report.md").read_text().splitlines() if not line.startswith("    ")]
    assert not [line for line in prose if "<script" in line or "<img" in line]
    assert not list(tmp_path.glob("**/*<*"))
    capsys.readouterr()


def chromium(page, picture, *flags):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1200,2400",
    ]
    command += [f"--screenshot={picture}", "--enable-logging=stderr", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=picture.parent)
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@needs_chromium
@pytest.mark.slow
def test_chromium_shows_it_without_console_errors(golden_out, tmp_path):
    shots = {}
    for scheme, flags in {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}.items():
        assert chromium(golden_out / "report.html", tmp_path / f"{scheme}.png", *flags) == []
        shots[scheme] = matplotlib.image.imread(tmp_path / f"{scheme}.png")[..., :3]
    light = shots["light"]
    assert np.median(light) > 0.9
    assert (light < 0.5).any(axis=2).mean() > 0.005  # there is text on the page
    assert np.median(shots["dark"]) < 0.2


CUT = """[...document.querySelectorAll('figure')].filter(one => one.scrollWidth > one.clientWidth).map(one => one.id)
    .concat(document.documentElement.scrollWidth > innerWidth ? ['page'] : []).join(', ')"""


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500, 420])
def test_no_figure_is_cut(golden_out, tmp_path, width):
    with Browser(tmp_path) as browser:
        assert browser.value((golden_out / "report.html").as_uri(), CUT, (width, 900)) == ""


@pytest.mark.slow
@needs_chromium
def test_the_console_check_can_fail(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('seen')</script>")
    assert len(chromium(page, tmp_path / "bad.png")) == 1
