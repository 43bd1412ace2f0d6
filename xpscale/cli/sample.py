"""``xpscale sample``."""

from __future__ import annotations

from typing import Annotated

import typer

from xpscale.cli.common import Output, say
from xpscale.cli.store import Spectra, open_input

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(sample)


def sample(
    store: Spectra,
    output: Output,
    n: Annotated[int, typer.Option("-n", help="Objects to draw.", min=1)] = 100_000,
    rule: Annotated[str, typer.Option(help="uniform, density (favours dense regions) or flattened.")] = "density",
    seed: Annotated[int, typer.Option(help="Which of the possible draws.")] = 0,
) -> None:
    """Draw an object-dense training sample from a store, reproducibly; held-out pixels stay out."""
    from xpscale.training.sample import draw_sample, save_sample

    drawn = draw_sample(open_input(store), n, rule, seed)
    save_sample(drawn, output)
    say(f"{len(drawn):,} objects, rule {rule}, seed {seed}, digest {drawn.digest[:12]}: {output}")
