"""For tests, here and elsewhere: a synthetic sky with known truth, contracts, real services."""
