"""The interactive page in headless Chromium: what it draws is what the library computes at the same parameters."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from problems import build
from scipy.integrate import quad
from scipy.special import betaln, log_expit
from scipy.stats import norm

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.pirls import Pirls

pytestmark = pytest.mark.slow

EXTENSION = Path(__file__).parents[2] / "docs" / "_ext" / "interactive.py"
MAX_NODES = 9
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: data set, theta, beta, group, nodes: near the optimum, far from it, without random effects, and with large ones.
PLACES = {
    "cbpp": ("cbpp", 0.65, [-1.4, -1.0, -1.1, -1.6], 2, 5),
    "cbpp, far": ("cbpp", 1.87654321, [0.25, 1.5, -3.0, 0.125], 13, 9),
    "cbpp, theta zero": ("cbpp", 0.0, [-1.4, -1.0, -1.1, -1.6], 0, 3),
    "toenail": ("toenail", 4.006, [-1.618, -0.391, -0.161, -0.137], 44, 7),
    "toenail, far": ("toenail", 7.5, [1.0, -0.2, 2.0, 0.1], 293, 2),
}


# -- the page and the library beside it ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extension():
    """The builder, as Sphinx would load it."""
    spec = importlib.util.spec_from_file_location("refglmm_interactive", EXTENSION)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(extension):
    return extension.page_data(MAX_NODES)


@pytest.fixture(scope="module")
def file(extension, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("book") / "reference" / "page.html"
    extension.write_page(path, data)
    return path


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright (extra 'dev') is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """The page in a browser, with everything it said or asked for."""

    def __init__(self, tab, file):
        self.tab, self.said, self.asked = tab, [], []
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))
        self.address = file.as_uri()
        tab.goto(self.address)
        self.settle()

    def settle(self):
        """Wait until the frame after next: then the page is drawn."""
        self.tab.evaluate("() => new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")

    def act(self, script, *arguments):
        self.tab.evaluate(script, *arguments)
        self.settle()

    def click(self, name):
        self.tab.click(f"#{name}")
        self.settle()

    def put(self, name, value):
        """Type a number with all its digits into the field beside a slider."""
        self.tab.fill(f"#{name}-number", repr(value))
        self.tab.press(f"#{name}-number", "Enter")
        self.settle()

    def choose(self, name, value):
        self.tab.select_option(f"#{name}", value=str(value))
        self.settle()

    def go(self, place):
        """All fields of a place, filled in one after the other between two frames."""
        name, theta, beta, group, k = place
        self.click(f"data-{name}")
        fields = {"theta": theta, **{f"beta-{m}": b for m, b in enumerate(beta)}, "k": k}
        filled = {**{f"{field}-number": value for field, value in fields.items()}, "group": group}
        self.act(
            "all => Object.entries(all).forEach(([id, value]) => { const e = document.getElementById(id); "
            "e.value = String(value); e.dispatchEvent(new Event('change')); })",
            filled,
        )

    def number(self, name):
        return float(self.tab.get_attribute(f"#{name}", "data-value"))

    def vector(self, name, attribute="vector"):
        return np.array(json.loads(self.tab.get_attribute(f"#{name}", f"data-{attribute}")))

    def finish_surface(self):
        self.tab.wait_for_function("document.getElementById('surface').dataset.state === 'done'")
        return self.tab.evaluate("explorer.surface.grid")

    def iterations(self):
        """The table of PIRLS: start, steps, last decrement."""
        rows = self.tab.evaluate(
            "[...document.querySelectorAll('#pirls-table tbody tr')].map(row => "
            "Object.fromEntries([...row.querySelectorAll('td[data-name]')]"
            ".map(td => [td.dataset.name, +td.dataset.value])))"
        )
        return rows[0], rows[1:-1], rows[-1]["last"]


@pytest.fixture(scope="module")
def shared_page(chromium, file):
    context = chromium.new_context(viewport={"width": 1300, "height": 900})
    yield Page(context.new_page(), file)
    context.close()


@pytest.fixture
def page(shared_page):
    """The one page, freshly loaded."""
    shared_page.tab.reload()
    shared_page.settle()
    return shared_page


@dataclass
class Library:
    """What the library says at one place."""

    problem: object
    theta: float
    beta: list
    group: int
    k: int

    @property
    def psi(self):
        return np.array([self.theta, *self.beta])

    def objective(self, k):
        return AdaptiveQuadratureObjective(Pirls(self.problem), k)

    @property
    def rows(self):
        return self.problem.layout.index[:, 0] == self.group

    @cached_property
    def mode(self):
        return self.objective(1).mode(self.psi)

    def log_integrand(self, u):
        """log of p(y | u) phi(u), from scipy.special: nothing is lost where a probability rounds to 1."""
        p, trials = self.problem, self.problem.weights[self.rows]
        successes = np.round(p.y[self.rows] * trials)
        eta = p.X[self.rows] @ np.array(self.beta) + self.theta * u
        ways = -np.log1p(trials) - betaln(successes + 1.0, trials - successes + 1.0)
        return np.sum(ways + successes * log_expit(eta) + (trials - successes) * log_expit(-eta)) + norm.logpdf(u)

    @cached_property
    def integral(self):
        """log of the integral of p(y | u) phi(u); relative to the mode, so that quad sees numbers near one."""
        mode = self.mode.u[self.group]
        height = self.log_integrand(mode)
        whole = quad(
            lambda u: np.exp(self.log_integrand(u) - height), mode - 9, mode + 9, epsabs=0, epsrel=1e-11, limit=400
        )
        return height + np.log(whole[0])


@pytest.fixture(scope="module")
def problems(extension):
    return {
        name: rg.glmer(choice.formula, rg.datasets.load(name), "binomial").problem
        for name, choice in extension.CHOICES.items()
    }


@pytest.fixture(params=PLACES, ids=str)
def place(request):
    return PLACES[request.param]


@pytest.fixture
def library(place, problems):
    return Library(problems[place[0]], *place[1:])


# -- the file -------------------------------------------------------------------------------------------------


def test_loads_from_a_file_without_a_word_and_without_a_request(chromium, file):
    page = Page(chromium.new_page(), file)
    page.finish_surface()
    for name in ("data-toenail", "scope-all", "go-agq", "go-lme4", "go-start", "group-worst", "data-cbpp"):
        page.click(name)
    page.choose("method", "agq")
    assert page.said == []
    assert page.asked == [page.address]
    page.tab.close()


def test_the_file_refers_to_nothing_outside(file):
    text = file.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "src=" not in text
    assert text.count("</script>") == 2  # nothing in the data ends its script early


def test_a_template_without_a_place_for_the_data_is_refused(extension, data, tmp_path, monkeypatch):
    for name in ("model.js", "draw.js", "app.js"):
        shutil.copy(extension.SOURCE / name, tmp_path)
    (tmp_path / "page.html").write_text("<script>/*SCRIPTS*/</script>", encoding="utf-8")
    monkeypatch.setattr(extension, "SOURCE", tmp_path)
    with pytest.raises(ValueError, match=r"must contain /\*DATA\*/ once"):
        extension.build_page(data)


def test_sphinx_writes_it_beside_the_page_that_shows_it(extension, data, tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "page_data", lambda: data)
    connected = {}
    extension.setup(SimpleNamespace(connect=lambda event, handler: connected.update({event: handler})))
    html = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    for app, exception in (
        (html, RuntimeError("failed")),
        (SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="latex")), None),
    ):
        connected["build-finished"](app, exception)
        assert not list(tmp_path.iterdir())
    connected["build-finished"](html, None)
    assert (tmp_path / "reference" / "interactive_page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_sliders_reach_every_point_of_the_paths(data):
    for described in data["sets"].values():
        low, high = (np.array([limits[end] for limits in described["ranges"]]) for end in ("low", "high"))
        points = [point["psi"] for path in described["paths"] for stage in path["stages"] for point in stage]
        points += [best["psi"] for best in described["optima"]]
        assert np.all((np.array(points) >= low) & (np.array(points) <= high))
        assert low[0] == 0.0


# -- the numbers ----------------------------------------------------------------------------------------------


def test_shows_the_librarys_deviance_and_gradient(page, place, library):
    page.go(place)
    for name, k in (("laplace", 1), ("agq", library.k)):
        value, gradient = library.objective(k).value_and_gradient(library.psi)
        assert page.number(f"{name}-value") == pytest.approx(value, rel=1e-11)
        size = np.max(np.abs(gradient))
        np.testing.assert_allclose(page.vector(f"{name}-gradient"), gradient, rtol=1e-7, atol=1e-8 * size)
        assert page.number(f"{name}-gradient") == pytest.approx(size, rel=1e-7)


def test_shows_the_groups_integral(page, place, library):
    page.go(place)
    j, by_group = library.group, {k: library.objective(k).group_log_likelihood(library.psi) for k in (1, library.k)}
    assert page.number("group-mode") == pytest.approx(library.mode.u[j], rel=1e-9, abs=1e-11)
    H = 1.0 + library.theta**2 * library.mode.w[library.rows].sum()
    assert page.number("group-sd") == pytest.approx(H**-0.5, rel=1e-10)
    assert page.number("group-laplace") == pytest.approx(-2.0 * by_group[1][j], rel=1e-10)
    assert page.number("group-agq") == pytest.approx(-2.0 * by_group[library.k][j], rel=1e-10)
    assert page.number("group-exact") == pytest.approx(-2.0 * library.integral, rel=1e-9)
    for name, k in (("laplace", 1), ("agq", library.k)):
        assert page.number(f"group-{name}-ratio") == pytest.approx(np.exp(by_group[k][j] - library.integral), rel=1e-8)


def test_exact_sum_is_the_limit_of_many_nodes(page, place, library):
    page.go(place)
    exact = library.objective(100).value(library.psi)
    assert page.number("exact-value") == pytest.approx(exact, rel=1e-9 if library.theta < 2 else 1e-6)
    for name, k in (("laplace", 1), ("agq", library.k)):
        errors = page.vector(f"{name}-error", "groups")
        assert errors.sum() == pytest.approx(page.number(f"{name}-error"), rel=1e-7, abs=1e-9)
        assert errors.size == library.problem.q
        assert page.number(f"{name}-error") == pytest.approx(
            library.objective(k).value(library.psi) - page.number("exact-value"), abs=1e-8
        )


@pytest.mark.parametrize("name", ["cbpp", "toenail"])
def test_buttons_lead_to_the_librarys_estimates(page, extension, name):
    choice, frame = extension.CHOICES[name], rg.datasets.load(name)
    page.click(f"data-{name}")
    page.put("k", MAX_NODES)
    for button, method, options in (
        ("go-laplace", "laplace", {}),
        ("go-agq", "agq", {"n_agq": MAX_NODES}),
        ("go-lme4", None, {"mode": "lme4"}),
    ):
        page.click(button)
        fit = rg.glmer(choice.formula, frame, "binomial", **options)
        shown = [page.number(f"{slider}-number") for slider in ("theta", *(f"beta-{m}" for m in range(4)))]
        assert shown == [*fit.optimum.par, *fit.optimum.beta]
        if method:
            assert page.number(f"{method}-best") == fit.minus_two_loglik
            assert page.number(f"{method}-excess") == pytest.approx(0.0, abs=1e-8)
            assert page.number(f"{method}-gradient") < 1e-4
        else:
            assert page.number("laplace-excess") > 0.0


def test_arrow_keys_move_a_slider_and_with_it_the_numbers(page, problems):
    before = page.number("laplace-value")
    page.tab.focus("#theta")
    for _ in range(7):
        page.tab.keyboard.press("ArrowRight")
    page.settle()
    theta = page.number("theta-number")
    assert theta == float(page.tab.input_value("#theta"))
    psi = np.array([theta, *(page.number(f"beta-{m}-number") for m in range(4))])
    value = AdaptiveQuadratureObjective(Pirls(problems["cbpp"]), 1).value(psi)
    assert page.number("laplace-value") == pytest.approx(value, rel=1e-11)
    assert abs(page.number("laplace-value") - before) > 1e-3


def test_a_field_refuses_what_is_not_a_parameter(page):
    theta = page.number("theta-number")
    page.put("theta", -1.0)
    assert page.number("theta-number") == theta
    page.tab.fill("#theta-number", "")
    page.tab.press("#theta-number", "Enter")
    page.settle()
    assert page.tab.input_value("#theta-number") != ""
    page.put("k", 2.5)
    assert page.number("k-number") == 5


# -- PIRLS ----------------------------------------------------------------------------------------------------

#: Near, and so far that whole steps overshoot.
STARTS = (0.0, -9.0, 12.0)


def check_iterations(page, pirls, library, start, r):
    """The page's table against the records of the library's PIRLS from the same start; the number of halvings."""
    page.put("u0", start)
    pirls.records = []
    pirls.find_mode(np.array([library.theta]), np.array(library.beta), np.empty(0), np.full(pirls.problem.q, start))
    first, steps, last = page.iterations()
    assert first["u"] == start
    assert [step["halvings"] for step in steps] == [record.halvings for record in pirls.records]
    objectives = [record.objective for record in pirls.records]
    np.testing.assert_allclose([step["g"] for step in steps], objectives, rtol=1e-10)
    # a decrement is the square of what is left of a difference: the last ones are rounding
    decrements = [record.decrement for record in pirls.records]
    np.testing.assert_allclose([step["decrement"] for step in steps], decrements, rtol=1e-6, atol=1e-18)
    assert [first, *steps][-1]["u"] == pytest.approx(pirls.u[r], rel=1e-10, abs=1e-12)
    assert last < 1e-9
    return sum(step["halvings"] for step in steps)


def test_pirls_of_all_groups_is_the_librarys(page, place, library):
    page.go(place)
    page.click("scope-all")
    halvings = [check_iterations(page, Pirls(library.problem), library, start, library.group) for start in STARTS]
    if library.theta > 1.0:
        assert min(halvings[1:]) > 0


def test_pirls_of_one_group_is_that_of_its_rows_alone(page, place, library):
    page.go(place)
    p, rows = library.problem, library.rows
    intercept = (np.zeros(rows.sum(), dtype=int), np.ones((rows.sum(), 1)), 1)
    alone = build(p.family, p.X[rows], [intercept], [make_structure("us", 1)], p.y[rows], p.weights[rows])
    for start in STARTS:
        check_iterations(page, Pirls(alone), library, start, 0)


def test_iterates_are_newtons_and_refused_points_are_lower(page, problems):
    """By hand: u + length * g'/H, with the first length that passes Armijo's test."""
    place = PLACES["toenail, far"]
    library = Library(problems["toenail"], *place[1:])
    page.go(place)
    page.put("u0", 12.0)
    first, steps, _ = page.iterations()
    p, rows = library.problem, library.rows
    u, halvings = first["u"], 0
    for step in steps:
        mu = 1.0 / (1.0 + np.exp(-(p.X[rows] @ np.array(library.beta) + library.theta * u)))
        slope = library.theta * np.sum(p.weights[rows] * (p.y[rows] - mu)) - u
        H = 1.0 + library.theta**2 * np.sum(p.weights[rows] * mu * (1.0 - mu))
        length = 0.5 ** step["halvings"]
        assert step["decrement"] == pytest.approx(slope**2 / H, rel=1e-6, abs=1e-18)
        assert step["u"] == pytest.approx(u + length * slope / H, rel=1e-9, abs=1e-12)
        if step["halvings"]:
            refused = u + 2.0 * length * slope / H
            assert library.log_integrand(refused) < library.log_integrand(u) + 1e-4 * 2.0 * length * step["decrement"]
        u, halvings = step["u"], halvings + step["halvings"]
    assert halvings > 0
    assert page.tab.locator("#pirls .refused").count() == halvings


# -- the surface ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["laplace", "agq"])
def test_surface_is_the_librarys(page, problems, data, method):
    place = PLACES["cbpp"]
    page.go(place)
    page.choose("axis", 2)
    page.choose("zoom", 4)
    page.choose("method", method)
    grid = page.finish_surface()
    k = 1 if method == "laplace" else place[-1]
    objective = AdaptiveQuadratureObjective(Pirls(problems["cbpp"]), k)
    heights = np.array(grid["values"]).reshape(len(grid["ys"]), len(grid["xs"]))
    for a, b in [(0, 0), (3, 5), (-1, 2), (-1, -1), (4, -3)]:
        psi = np.array([grid["xs"][a], *place[2]])
        psi[3] = grid["ys"][b]
        height = objective.value(psi) - data["sets"]["cbpp"]["optima"][k - 1]["value"]
        assert heights[b, a] == pytest.approx(height, rel=1e-9, abs=1e-9)


def test_draws_the_evaluations_of_the_trace(page, extension):
    choice = extension.CHOICES["cbpp"]
    for path, options in (("newton", {}), ("lme4", {"mode": "lme4"})):
        page.choose("path", path)
        stages = rg.glmer(choice.formula, rg.datasets.load("cbpp"), "binomial", **options).trace.evaluations["stage"]
        for m, count in enumerate(stages.value_counts(sort=False), start=1):
            assert page.tab.locator(f"#surface circle.stage{m}").count() == count


def test_a_click_on_the_surface_goes_there(page):
    grid = page.finish_surface()
    page.tab.locator("#surface").scroll_into_view_if_needed()
    box = page.tab.locator("#bands").bounding_box()
    page.tab.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.75 * box["height"])
    page.settle()
    for slider, ends in (("theta", grid["xs"]), ("beta-0", grid["ys"])):
        wanted = ends[0] + 0.25 * (ends[-1] - ends[0])
        assert page.number(f"{slider}-number") == pytest.approx(wanted, abs=0.01 * (ends[-1] - ends[0]))


# -- the reader -----------------------------------------------------------------------------------------------


def test_a_click_on_a_bar_chooses_its_group(page):
    page.tab.locator("#errors").scroll_into_view_if_needed()
    bars = page.tab.locator("#errors path.bar").first.bounding_box()
    page.tab.mouse.click(bars["x"] + 2.5 / 15.0 * bars["width"], bars["y"] + bars["height"] / 2.0)
    page.settle()
    errors = page.vector("laplace-error", "groups")
    assert page.tab.input_value("#group") == str(np.argsort(-errors)[2])


@pytest.mark.parametrize("width", [380, 860, 1600])
def test_fits_the_window(chromium, file, width):
    context = chromium.new_context(viewport={"width": width, "height": 800})
    page = Page(context.new_page(), file)
    page.click("data-toenail")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_follows_the_theme_of_reader_and_book(chromium, file):
    context = chromium.new_context(color_scheme="dark")
    page = Page(context.new_page(), file)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.tab.evaluate(background)
    page.act("postMessage({theme: 'light'}, '*')")
    page.tab.wait_for_function("document.documentElement.dataset.theme === 'light'")
    light = page.tab.evaluate(background)
    assert sum(map(int, dark[4:-1].split(","))) < 150 < 600 < sum(map(int, light[4:-1].split(",")))
    context.close()


def test_everything_that_can_be_used_has_a_name(page):
    unnamed = page.tab.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => !(e.labels?.length || "
        "e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim())).map(e => e.id)"
    )
    assert unnamed == []
    assert all(page.tab.locator("svg[role=img]").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))"))
