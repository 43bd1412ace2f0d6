"""A synthetic sky with known truth, for the demo, the science report, and tests."""
