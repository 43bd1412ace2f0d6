"""What the guide to ``xpscale serve`` shows runs against a service."""

import re
import shlex
import subprocess

import pytest

from tests.architecture.source import ROOT
from tests.debian import debian_command

GUIDE = (ROOT / "docs/howto/serve.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S))
def test_python_of_the_guide(service, block):
    names = {}
    exec(compile(block.replace(ADDRESS, service), "serve.md", "exec"), names)
    assert len(names.get("found", names.get("count"))) > 0
    assert len(names.get("near", names.get("rows"))) > 0


@pytest.mark.parametrize("line", re.findall(r"^    ((?:stilts|curl) .*)$", GUIDE, re.M))
def test_commands_of_the_guide(service, line, tmp_path):
    command = shlex.split(line.replace(ADDRESS, service))
    program = debian_command(command[0])
    done = subprocess.run(
        [program, *command[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    written = [path.stat().st_size for path in tmp_path.iterdir()]
    assert written or done.stdout.splitlines()[1] == "6000"
