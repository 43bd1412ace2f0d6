"""Tasks in, reports out: executors, ledger and progress.  Knows nothing of spectra."""
