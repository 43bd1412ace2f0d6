"""Design notes open with what was decided, and documents use plain words."""

import re

import pytest

from tests.architecture.source import ROOT

NOTES = sorted((ROOT / "xpscale/design").glob("*.md"))
PAGES = [
    *ROOT.glob("*.md"),
    *NOTES,
    *(ROOT / "deploy").glob("*.md"),
    *(ROOT / "paper").glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs").glob("[!_]*/*.md"),
]
STRANGE = re.compile(r"\b(beside|by hand|told apart|for want of|mend|mended|at hand|betimes)\b")


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.stem)
def test_a_note_opens_with_its_decision(note):
    title, decision = note.read_text().split("\n\n")[:2]
    assert title.startswith(f"# {note.stem[:3]}")
    assert decision.startswith("**Decision.** ")


def test_the_words_are_plain():
    found = [f"{page.name}: {word}" for page in PAGES for word in STRANGE.findall(page.read_text())]
    assert found == []
