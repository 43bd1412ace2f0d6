"""Training in memory: our loop against one written the released code's way, same rows, network,
loss and batch size.

The released way (`research`: the audit of the code): numpy arrays in, batches copied to tensors as
they are served, all rows permuted at the end of every epoch, with a list of all pairs that nothing
reads, three numbers fetched from the device every step, and AdamW as torch has it by default.  Both
run epoch by epoch, in turn: on one core, on two, and on a GPU if there is one.  The released way
has a torch thread a core; ours one for every share of a batch, as in ``xpscale train``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from xpscale.model.card import Architecture
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.release import DR3
from xpscale.training.batches import Rows
from xpscale.training.loop import Trainer
from xpscale.training.settings import PRESETS, TrainingSettings

N_ROWS = 61_440
ROUNDS = 5
BATCH_SIZE = 1024
N_CORES = (1, 2)
RELEASED = "the released code's way"


class ReferenceGenerator:
    """Batches of numpy arrays, as ``DataGenerator`` of the released code serves them."""

    def __init__(self, x: np.ndarray, x_err: np.ndarray, batch_size: int) -> None:
        self.x, self.x_err, self.batch_size = x, x_err, batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(self.x) - self.batch_size + 1, self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield torch.from_numpy(self.x[rows].copy()), torch.from_numpy(self.x_err[rows].copy())
        self.epoch_end()

    def epoch_end(self) -> None:
        """Shuffle; the pairs are made and forgotten there, too."""
        _ = list(zip(self.x, self.x_err, strict=True))
        order = np.random.permutation(len(self.x))  # noqa: NPY002
        self.x, self.x_err = self.x[order], self.x_err[order]


class ReferenceLoop:
    """One epoch at a time of the released training loop, on the same network."""

    def __init__(self, x: np.ndarray, x_err: np.ndarray, device: str) -> None:
        torch.manual_seed(0)
        self.device, self.batch_size = device, BATCH_SIZE
        self.network = ScatterVAE(Architecture(DR3.known_bands)).to(device).train()
        self.batches = ReferenceGenerator(x, x_err, BATCH_SIZE)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)

    def __call__(self) -> float:
        """Train an epoch; the mean loss of its batches."""
        total = mse_total = kld_total = 0.0
        for n_batches, batch in enumerate(self.batches, 1):  # noqa: B007
            x, x_err = (values.to(self.device) for values in batch)
            self.optimizer.zero_grad()
            posterior = self.network.encode(x)
            mu, log_var = posterior.mean, posterior.log_var
            z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
            decoded = self.network.decode(z)
            weight = 1 / (x_err**2 + decoded.scatter**2)
            mse = torch.mean(
                torch.sum(0.5 * (x - decoded.mean) ** 2 * weight - 0.5 * torch.log(weight), dim=1)
            )
            kld = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - torch.exp(log_var), dim=1))
            loss = mse + kld
            loss.backward()
            self.optimizer.step()
            total, mse_total, kld_total = (
                total + loss.item(),
                mse_total + mse.item(),
                kld_total + kld.item(),
            )
        return total / n_batches


class OurLoop:
    """One epoch at a time of `Trainer`, without the held-out loss."""

    def __init__(
        self, x: np.ndarray, x_err: np.ndarray, settings: TrainingSettings, device: str
    ) -> None:
        self.rows = Rows(torch.from_numpy(x), torch.from_numpy(x_err), np.arange(len(x))).to(
            torch.device(device)
        )
        self.batch_size = settings.batch_size
        self.nothing = self.rows.take(np.arange(0))
        self.trainer = Trainer(settings, DR3.known_bands, torch.device(device))

    def __call__(self) -> float:
        """Train an epoch; the mean loss of its rows."""
        with _threads(1):
            return self.trainer.train_epoch(self.rows, self.nothing).loss


Loops = dict[str, ReferenceLoop | OurLoop]


def main() -> None:
    """Print spectra a second, medians over interleaved epochs, and the ratio to the released
    way.
    """
    x, x_err = _spectra()
    seconds = {}
    for n in N_CORES:
        with _cores(n):
            loops = _loops(
                x, x_err, "cpu"
            )  # their threads stay on the cores that they are started on
            seconds[f"{n} core{'s' * (n > 1)}"] = _measure(loops, n)
    if torch.cuda.is_available():
        seconds[torch.cuda.get_device_name()] = _measure(_loops(x, x_err, "cuda"), 1)
    print(f"training in memory, {N_ROWS:,} spectra an epoch, medians of {ROUNDS} epochs in turn")
    print(f"| {'loop':26} | batch | " + " | ".join(f"{where} | ratio" for where in seconds) + " |")
    print("|---" * (2 + 2 * len(seconds)) + "|")
    for name, loop in loops.items():
        cells = [
            f"{N_ROWS / np.median(took[name]):,.0f} | {np.median(took[RELEASED] / took[name]):.2f}"
            for took in seconds.values()
        ]
        print(f"| {name:26} | {loop.batch_size} | " + " | ".join(cells) + " |")


def _loops(x: np.ndarray, x_err: np.ndarray, device: str) -> Loops:
    paper = replace(PRESETS["laroche2024"], batch_size=BATCH_SIZE)
    return {
        RELEASED: ReferenceLoop(x.copy(), x_err.copy(), device),
        "laroche2024": OurLoop(x, x_err, paper, device),
        "laroche2024, compiled": OurLoop(x, x_err, replace(paper, compile=True), device),
        "default preset's network": OurLoop(
            x, x_err, replace(PRESETS["default"], batch_size=BATCH_SIZE), device
        ),
        "default preset": OurLoop(x, x_err, PRESETS["default"], device),
        "default preset, compiled": OurLoop(
            x, x_err, replace(PRESETS["default"], compile=True), device
        ),
    }


def _measure(loops: Loops, n_threads: int) -> dict[str, np.ndarray]:
    """Seconds of every epoch but the first, by loop."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    with _threads(n_threads):
        for _ in range(ROUNDS + 1):  # the first epoch compiles and warms up
            for name, epoch in loops.items():
                clock = time.perf_counter()
                epoch()
                seconds[name].append(time.perf_counter() - clock)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


@contextlib.contextmanager
def _cores(n: int) -> Iterator[None]:
    """Let this thread, and those it starts, run on n of the cores only."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _spectra() -> tuple[np.ndarray, np.ndarray]:
    """Standardized spectra of six latents, float32, with shape (N_ROWS, 110)."""
    rng = np.random.default_rng(0)
    x = np.tanh(rng.normal(size=(N_ROWS, 6)) @ rng.normal(size=(6, 110)) / 2) + 0.1 * rng.normal(
        size=(N_ROWS, 110)
    )
    return x.astype(np.float32), np.full((N_ROWS, 110), 0.1, np.float32)


if __name__ == "__main__":
    main()
