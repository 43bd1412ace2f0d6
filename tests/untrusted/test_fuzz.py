"""Files damaged at random: one clear error or success, little memory, and nothing outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
MOST_GROWN_KB = 400_000


@pytest.mark.slow
def test_damaged_files_end_in_one_error_or_in_success(tmp_path):
    n = max(settings().max_examples // 25, 1)
    (tmp_path / "made").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.untrusted.fuzz", tmp_path / "made", str(n), "17"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert found["reached"] == []
    assert found["grown_kb"] < MOST_GROWN_KB
    assert found["ends"]["error"] > found["ends"]["success"] > 0
