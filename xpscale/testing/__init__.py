"""Parts for tests, ours and other people's: a synthetic sky with known truth, contracts, real
services.
"""
