"""A link from a document of the repository to another leads to a file, and to a heading in it."""

import re

import pytest

from tests.architecture.source import ROOT

PAGES = sorted(
    page
    for page in [
        *ROOT.glob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *(ROOT / "paper").glob("*.md"),
        *(ROOT / "xpscale").glob("*.md"),
        *(ROOT / "xpscale/design").glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs").glob("[!_]*/*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")
BLOCK = re.compile(r"^```.*?^```", re.M | re.S)


def headings(page):
    """The anchors that a web page of the repository gives its headings."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page):
    for target, anchor in LINK.findall(BLOCK.sub("", page.read_text())):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in headings(file)):
            yield f"{target}#{anchor}" if anchor else target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page):
    assert [*broken(page)] == []


def test_a_missing_file_and_a_missing_heading_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](page.md#one-two) [b](none.md) [c](#three) [d](https://x.org)\n")
    assert [*broken(page)] == ["none.md", "#three"]
