"""The page that ``verify --report`` writes: its text, and how a browser shows it."""

import dataclasses
import html.parser
import json
import math
import re
import shutil
import subprocess

import jinja2
import pytest

import checkpoints
import converters
from converters.parity.report import Report
from converters.parity.report_text import report_text
from converters.parity.rows import OutputRow, WeightRow
from converters.reports.html import html_report, plot_of, write_html_report
from converters.reports.provenance import provenance_of
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes

HOSTILE = "<script>alert(1)</script>\"'&"
VOID = {"meta"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text; fails where tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts, self.styles = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open and self.open[-1] == "style" else self.texts).append(data.strip())

    def named(self, tag, css_class=None):
        return [
            attrs for name, attrs in self.tags if name == tag and css_class in (None, *attrs.get("class", "").split())
        ]

    @property
    def text(self):
        return " ".join(filter(None, self.texts))


def outputs(*relative, tolerance=1e-5, names=None):
    """A report with an endpoint per relative difference."""
    names = names or [f"MobilenetV2/layer_{index}" for index in range(len(relative))]
    rows = tuple(
        OutputRow(
            name=name,
            shape=(2, 7, 7, 320),
            model_shape=(2, 7, 7, 320),
            reference_error=value,
            rounding=tolerance / 8,
            bound=tolerance,
            model_error=tolerance / 8,
            max_absolute=2 * value,
            cosine=1.0,
            top1_agreement=1.0 if index else None,
            passed=value <= tolerance,
        )
        for index, (name, value) in enumerate(zip(names, relative, strict=True))
    )
    return Report("outputs", "model.keras", "frozen.pb", rows, tolerance, ("On 2 images.",))


def weights(*passed):
    rows = (
        WeightRow(f"Net/w{i}", (3, 3), "equal" if ok else "1 of 9 values differ", ok) for i, ok in enumerate(passed)
    )
    return Report("weights", "model.keras", "model.ckpt", tuple(rows))


def test_outputs_page():
    report = outputs(1e-7, 3e-6, 0.0)
    page = Page(html_report(report, {"Model": {"sha256 of model.keras": "abc123"}}))
    assert page.texts.index("Passed") < page.texts.index("What was compared")
    assert "3 of 3 endpoints agree; the worst is 3e-06 from the exact model, and 1e-05 is allowed" in page.text
    assert "On 2 images." in page.text and "abc123" in page.text
    assert len(page.named("circle", "passed")) == len(page.named("circle", "rounding")) == 3 and not page.named(
        "circle", "failed"
    )
    assert len(page.named("tr", "passed")) == 3
    assert "3.0e-06" in page.text and "at least 1e-05" in page.text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")


def test_failure_is_marked_and_linked():
    page = Page(html_report(outputs(1e-7, 3e-4, math.nan), {}))
    assert "Failed" in page.texts and "Passed" not in page.texts
    assert page.named("a") == [{"href": "#first"}]
    assert [row.get("id") for row in page.named("tr", "failed")] == ["first", None]
    assert len(page.named("circle", "failed")) == 2
    assert "MobilenetV2/layer_2: not a number" in page.text


def test_weights_page():
    page = Page(html_report(weights(True, False, True), {}))
    assert [cell["class"] for cell in page.named("rect")] == ["cell passed", "cell failed", "cell passed"]
    assert "2 of 3 variables are equal bit for bit" in page.text and "1 of 9 values differ" in page.text
    assert "open" in page.named("details")[0]
    assert "open" not in Page(html_report(weights(True, True), {})).named("details")[0]


@pytest.mark.parametrize(("width", "left_out"), [(200, ()), (100, ("cosine",)), (80, ("model", "shape"))])
def test_a_narrow_terminal_has_fewer_columns_and_whole_names(width, left_out):
    names = "MobilenetV2/layer_16/expansion_output", "MobilenetV2/layer_17/depthwise_output"
    rows = [
        OutputRow(name, (2, 7, 7, 960), (2, 7, 7, 960), 3e-6, 1e-6, 1e-5, 1e-6, 1e-5, 1.0, None, passed)
        for name, passed in zip(names, (True, False), strict=True)
    ]
    text = report_text(Report("outputs", "m", "r", tuple(rows), 1e-5, (), 2), True, width)
    table = text.splitlines()[1:-1]
    assert all(any(name in line for line in table) for name in names) and max(map(len, table)) <= width
    heading = " ".join(table[:3])
    assert all(name not in heading for name in left_out) and "allowed" in heading
    assert any(line.endswith("FAILED <- first") for line in table)


def test_the_first_20_variables_that_differ_are_shown_unless_all_are_asked_for():
    report = weights(*[False] * 25, *[True] * 3)
    text = report_text(report, every_row=False)
    assert "5 more variables differ (mobilenets convert and verify print them with --verbose)." in text
    assert "Net/w19" in text and "Net/w20" not in text
    assert "Net/w24" in str(report) and "more variables" not in str(report)


@pytest.mark.parametrize("report", [Report("outputs", "m", "r", (), 1e-5), Report("weights", "m", "r", ())])
def test_nothing_compared_is_a_failure(report):
    page = Page(html_report(report, {}))
    assert "Failed" in page.texts and not page.named("svg")


@pytest.mark.parametrize("report", [outputs(1e-7, 1.0), weights(True, False)])
def test_everything_is_escaped(report):
    rows = tuple(dataclasses.replace(row, name=HOSTILE) for row in report.rows)
    hostile = dataclasses.replace(report, model=HOSTILE, reference=HOSTILE, rows=rows, notes=(HOSTILE,))
    page = Page(html_report(hostile, {HOSTILE: {HOSTILE: HOSTILE}}))
    assert not page.named("script")
    assert page.text.count(HOSTILE) >= 9


def test_nothing_is_loaded():
    text = html_report(outputs(1e-7), {})
    page = Page(text)
    assert not re.findall(r"url\(|@import|https?://", text)
    assert not [attrs for _, attrs in page.tags if {"src", "srcset"} & attrs.keys()]
    assert not [tag for tag, _ in page.tags if tag in ("link", "script", "img", "iframe")]
    assert "prefers-color-scheme: dark" in page.styles[0]


@pytest.mark.parametrize(
    ("relative", "tolerance"),
    [
        ([1e-7, 2e-6, 3e-4], 1e-5),
        ([1e-16, 5e-13, 1.0], 1e-12),
        ([0.0, 0.0], 1e-5),
        ([0.0, math.nan, math.inf], 0.0),
        ([1e-300, 1e300], 1e-5),
        ([1e-5], 1e-5),
    ],
)
def test_plot_is_in_order_and_within_its_frame(relative, tolerance):
    plot = plot_of(outputs(*relative, tolerance=tolerance).rows)
    assert all(0 < point.y < plot.height and 10 < point.x < 100 for point in plot.points)
    assert all(0 < point.bound < plot.height for point in plot.points)
    assert [point.x for point in plot.points] == sorted(point.x for point in plot.points)
    assert 2 <= len(plot.decades) <= 8
    for point in plot.points:
        # Above its bound (smaller y) exactly where the endpoint failed.
        assert (point.y < point.bound) == (not point.row.passed)


def test_no_line_ends_within_a_number():
    text = html_report(outputs(1e-7, 3e-6, 0.0), {})
    assert '<span class="whole">1e-05</span>' in text and '<span class="whole">3e-06</span>' in text


def test_plot_is_logarithmic():
    plot = plot_of(outputs(1e-8, 1e-7, 1e-6).rows)
    first, second, third = (point.y for point in plot.points)
    assert first - second == pytest.approx(second - third, abs=0.11)
    assert {line.label for line in plot.decades} == {"1e-08", "1e-07", "1e-06", "1e-05"}


def test_plot_tells_the_parts_of_a_hub_report():
    names = ["MobilenetV2/layer_1", "default", "training: MobilenetV2/layer_1", "training: default", "after it: x"]
    plot = plot_of(outputs(*[1e-7] * 5, names=names).rows)
    assert [(part.label, part.at) for part in plot.parts] == [
        ("training", plot.points[2].x),
        ("after it", plot.points[4].x),
    ]


def test_page_is_written_whole_or_not_at_all(tmp_path):
    write_html_report(outputs(1e-7), {}, tmp_path / "report.html")
    before = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert before == html_report(outputs(1e-7), {})
    with pytest.raises(jinja2.UndefinedError):
        write_html_report(outputs(1e-7), None, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(checkpoints.CheckpointError, match="none does not exist"):
        write_html_report(outputs(1e-7), {}, tmp_path / "none" / "report.html")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A checkpoint, the model made of it and its manifest."""
    folder = tmp_path_factory.mktemp("report")
    variables = made_up_variables(variable_shapes("mobilenet_v1", 0.25))
    checkpoints.save_checkpoint(variables, folder / "v1.ckpt")
    conversion = converters.conversion_of(folder / "v1.ckpt", name="mobilenet_v1_025_128", input_shape=(64, 64, 3))
    converters.save_model(conversion, folder / "model.keras")
    return folder, conversion.model


def test_provenance(converted):
    folder, model = converted
    facts = provenance_of(model, folder / "model.keras", folder / "v1.ckpt")
    manifest = converters.read_manifest(folder / "model.manifest.json")
    assert list(facts) == ["Model", "Reference", "Computed with"]
    assert facts["Model"]["manifest"] == "model.manifest.json: every weight is as it lists it"
    assert facts["Model"]["averaged variables"] == "0 of 137"
    assert "input_shape 64x64x3" in facts["Model"]["network"]
    assert facts["Model"]["sha256 of model.keras"] == checkpoints.sha256(folder / "model.keras")
    for name, file in manifest["source"]["files"].items():
        assert facts["Reference"][f"sha256 of {name}"] == facts["Model"][f"sha256 of {name}"] == file["sha256"]
    assert facts["Computed with"]["keras"] == manifest["created_with"]["keras"]


def test_provenance_does_not_trust_the_manifest(converted, tmp_path):
    folder, model = converted
    manifest = converters.read_manifest(folder / "model.manifest.json")
    manifest["variables"]["MobilenetV1/Conv2d_0/weights"]["masked_crc32c"] = "0x00000000"
    shutil.copy(folder / "model.keras", tmp_path)
    path = tmp_path / "model.keras"
    assert provenance_of(model, path, {})["Model"]["manifest"] == "none: model.manifest.json does not exist"
    (tmp_path / "model.manifest.json").write_text(json.dumps(manifest))
    assert "1 variables differ from it" in provenance_of(model, path, {})["Model"]["manifest"]
    (tmp_path / "model.manifest.json").write_text("{}")
    assert "is not a manifest" in provenance_of(model, path, {})["Model"]["manifest"]


def test_provenance_of_a_hub_module_names_every_file(converted, tmp_path):
    folder, model = converted
    (tmp_path / "hub" / "variables").mkdir(parents=True)
    (tmp_path / "hub" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "hub" / "variables" / "variables.index").write_bytes(b"index")
    facts = provenance_of(model, folder / "model.keras", tmp_path / "hub")["Reference"]
    assert {"sha256 of saved_model.pb", "sha256 of variables.index"} < facts.keys()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser():
    """A program that renders pages without a screen."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    return found


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("kind", ["outputs", "weights"])
def test_a_browser_shows_it(kind, width, browser, tmp_path):
    """In a frame as wide as a phone: nothing is wider than the page, all is there, dark mode is dark."""
    long = [f"MobilenetV2/layer_{i}/expansion_output_with_a_name_that_does_not_end_soon" for i in range(60)]
    report = outputs(*[1e-7] * 59, 1e-3, names=long) if kind == "outputs" else weights(*[True] * 59, False)
    report = dataclasses.replace(report, reference="/a/very/long/path" * 9)
    provenance = {"Model": {"sha256 of mobilenet_v1_0.25_128.ckpt.data-00000-of-00001": "0123456789abcdef" * 4}}
    write_html_report(report, provenance, tmp_path / "report.html")
    # Browsers have a smallest window; a frame has none. The probe reads the page and writes down what it finds.
    probe = """<iframe id=f src=report.html width=%d height=800 style="border:0"></iframe><pre id=found></pre><script>
      f.onload = () => { const d = f.contentDocument, e = d.documentElement; found.textContent = JSON.stringify({
        verdict: d.querySelector("h1").innerText, rows: d.querySelectorAll("tbody tr").length,
        width: e.clientWidth, content: e.scrollWidth, marks: d.querySelectorAll("circle, rect").length,
        plot: d.querySelector("svg").getBoundingClientRect().width,
        paper: getComputedStyle(d.body).backgroundColor }) }</script>"""
    (tmp_path / "probe.html").write_text("<!doctype html>" + probe % width)
    for scheme, paper in ((1, "rgb(255, 255, 255)"), (0, "rgb(20, 23, 26)")):
        found = probed(browser, tmp_path, f"--blink-settings=preferredColorScheme={scheme}")
        assert found["verdict"] == "Failed"
        assert (found["rows"], found["marks"]) == (60, 120 if kind == "outputs" else 60)
        assert found["content"] <= found["width"] <= width
        assert 0.9 * min(width, 992) - 32 < found["plot"] < found["width"]
        assert found["paper"] == paper


def probed(browser, folder, *options):
    quiet = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    command = [browser, *quiet.split(), "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}"]
    page = (folder / "probe.html").as_uri()
    result = subprocess.run(
        [*command, *options, "--virtual-time-budget=5000", "--dump-dom", page],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', result.stdout)[1]))
