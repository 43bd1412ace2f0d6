"""One version everywhere: the package, how to cite it, and the changelog, which has its date."""

import re
import tomllib

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


def test_the_badges_of_the_readme_are_true():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert project["requires-python"] == f">={versions[0]}"
    true = {
        "version": f"version {xpscale.__version__}",
        "python": f"Python {versions[0]} to {versions[-1]}",
        "licence": f"licence {project['license']}",
    }
    badges = re.findall(r"!\[(.+?)\]\((docs/images/badge-.+?)\)", (ROOT / "README.md").read_text())
    assert [text for text, _ in badges] == [*true.values()]
    for text, path in badges:
        assert f'aria-label="{text}"' in (ROOT / path).read_text()
