"""How odd training objects are, counted at the end of a training: `xpscale.model.typicality`.

Every object is taken as it is, and with noise added, so that the sample stands for objects of all
signal-to-noise: k sigma of noise with ln k uniform, as `xpscale.training.loss` adds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from xpscale.model.typicality import Typicality, oddness
from xpscale.training.batches import some_rows
from xpscale.training.loss import noisier

if TYPE_CHECKING:
    from xpscale.model.density import TrainingDensity
    from xpscale.model.scatter_vae import NetworkModule
    from xpscale.training.batches import TrainingRows

__all__ = ["typicality_of"]

N_OBJECTS = 4_096
N_COPIES = 8
NOISE = (0.3, 60.0)
"""Range of k: 60 takes a star of G 11 to the signal-to-noise of one of G 18."""


def typicality_of(
    network: NetworkModule, rows: TrainingRows, density: TrainingDensity, seed: int
) -> Typicality:
    """How odd the objects are that a network was trained on; the same for the same seed.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU.
    rows
        What it was trained on, of which at most 4,096 are taken.
    density
        Where they are.
    seed
        Of the choice and of the noise.
    """
    sample = some_rows(rows, N_OBJECTS, seed)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(N_COPIES):
        x, x_err = sample
        if number:
            low, high = np.log(NOISE)
            k = torch.exp(low + (high - low) * torch.rand(len(x), 1, generator=generator))
            x, x_err = noisier(x, x_err, k, torch.randn(x.shape, generator=generator))
        with torch.inference_mode():
            latents = network.encode(x, x_err).mean
            decoded = network.decode(latents)
        found.append(
            oddness(
                (x.numpy(), x_err.numpy()),
                latents.numpy(),
                (decoded.mean.numpy(), decoded.scatter.numpy()),
                density,
            )
        )
    information, measures = zip(*found, strict=True)
    return Typicality.fit(np.concatenate(information), np.concatenate(measures, axis=1))
