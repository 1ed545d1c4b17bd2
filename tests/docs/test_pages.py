"""The pages of the book without building it: what they quote and link to exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if not {"_build", "examples"} & set(page.parts))
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHORED = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)#\s]*)#([^)\s]+)\)")
#: Headings that other places point at.
KEPT = {
    "reference/validation.md": (
        "what-is-compared-with-what", "why-believe-it", "published-figures", "other-software",
        "glmmadaptive-and-independent-maxima", "glmmtmb", "verdicts-of-the-cross-check", "calibration-of-intervals",
        "calibration-of-posteriors", "run-it-yourself", "fit-the-records-again",
    ),
    "reference/comparison.md": ("what-is-there", "how-long-a-fit-takes", "effective-draws-per-second"),
}  # fmt: skip


def load_definitions():
    spec = importlib.util.spec_from_file_location("definitions", DOCS / "_ext" / "definitions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


definitions = load_definitions()


def quotations():
    for page in PAGES:
        for path, name in re.findall(r"^`{3,}\{quoted\} (\S+) (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            yield pytest.param(path, name, id=f"{page.stem}: {name}")


def prose(page):
    """The text of a page without its cells and quotations."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def targets(page):
    """Files that a page links to."""
    return [t for t in LINK.findall(prose(page)) if "://" not in t and not t.startswith("mailto:")]


def headings(page):
    """What stands behind # in a link to a heading: lower case, no punctuation, hyphens for blanks."""
    found = re.findall(r"^#+ +(.+?) *$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_links_to_exists(page):
    missing = [target for target in targets(page) if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_headings_that_a_page_links_to_exist(page):
    links = [(file, anchor) for file, anchor in ANCHORED.findall(prose(page)) if "://" not in file]
    missing = [
        f"{file}#{anchor}"
        for file, anchor in links
        if (page.parent / file if file else page).suffix == ".md"
        and anchor not in headings(page.parent / file if file else page)
    ]
    assert not missing


@pytest.mark.parametrize("name", KEPT)
def test_headings_that_others_point_at_stay(name):
    assert set(KEPT[name]) <= headings(DOCS / name)


@pytest.mark.parametrize(("path", "name"), list(quotations()))
def test_what_a_page_quotes_exists(path, name):
    text, line = definitions.find(ROOT / "refglmm" / path, name.split("."))
    assert line > 0
    assert len(text.splitlines()) > 1


def test_a_quotation_of_a_vanished_name_is_an_error():
    with pytest.raises(LookupError, match="has no gh_ruler"):
        definitions.find(ROOT / "refglmm" / "likelihood" / "quadrature.py", ["gh_ruler"])


def test_every_chapter_says_where_it_stands_and_has_two_exercises():
    chapters = sorted((DOCS / "theory").glob("[0-9]*.md"))
    assert len(chapters) == 14
    for chapter in chapters:
        text = chapter.read_text(encoding="utf-8")
        assert "{quoted}" in text, chapter.name
        assert "Solution 1" in text, chapter.name
        assert "Solution 2" in text, chapter.name
