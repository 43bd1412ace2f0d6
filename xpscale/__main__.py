"""``python -m xpscale``, and ``torchrun -m xpscale train ...``."""

from xpscale.cli.main import main

if __name__ == "__main__":
    main()
