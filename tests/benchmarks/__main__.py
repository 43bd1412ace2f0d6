"""``python -m tests.benchmarks [NAME...]``: run the named benchmarks, or all of them."""

import importlib
import pkgutil
import sys

import tests.benchmarks


def run() -> None:
    """Run the benchmarks that the command line names."""
    known = sorted(
        m.name
        for m in pkgutil.iter_modules(tests.benchmarks.__path__)
        if not m.name.startswith("_")
    )
    names = sys.argv[1:] or known
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names:
        print(f"\n{name}\n")
        importlib.import_module(f"tests.benchmarks.{name}").main()


if __name__ == "__main__":  # worker processes import this module too
    run()
