"""``python -m tests.benchmarks [NAME... [ARGUMENT...]]``: run the named benchmarks.

Arguments are the last one's.  Without a name all run that need no arguments.
"""

import importlib
import pkgutil
import sys
from itertools import takewhile

import tests.benchmarks

ARGUMENTS = {"odd_objects": "MODEL SPECTRA", "serve_latency": "CATALOG"}


def run() -> None:
    """Run the benchmarks that the command line names."""
    known = sorted(
        m.name
        for m in pkgutil.iter_modules(tests.benchmarks.__path__)
        if not m.name.startswith("_")
    )
    given = sys.argv[1:]
    named = [*takewhile(known.__contains__, given)]
    arguments = given[len(named) :]
    if arguments and not named:
        sys.exit(f"no benchmark is called {arguments[0]}; there are {', '.join(known)}")
    if not arguments and (lacking := [name for name in named if name in ARGUMENTS]):
        sys.exit(f"{lacking[0]} needs {ARGUMENTS[lacking[0]]}")
    for name in named or [name for name in known if name not in ARGUMENTS]:
        print(f"\n{name}\n")
        sys.argv = [name, *(arguments if [name] == named[-1:] else [])]
        importlib.import_module(f"tests.benchmarks.{name}").main()


if __name__ == "__main__":  # worker processes import this module too
    run()
