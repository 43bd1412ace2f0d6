"""One version everywhere: the package, how to cite it, and the changelog, which has its date."""

import re

import xpscale
from tests.architecture.source import ROOT


def test_package_citation_and_changelog_agree():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited is not None
    assert cited[1] == xpscale.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", changes, re.M)
    assert re.fullmatch(rf"{re.escape(xpscale.__version__)} \(20\d\d-\d\d-\d\d\)", headings[1])
    kinds = {*re.findall(r"^### (.+)$", changes, re.M)}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {"Added", "Changed", "Fixed"} <= kinds
