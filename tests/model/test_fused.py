"""The compiled form of the noise-aware networks is the same function."""

import numpy as np
import pytest
import torch

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.evaluation.variants import SigmoidScatter
from xpscale.model.architectures import build
from xpscale.model.card import Architecture
from xpscale.model.cost import Multiplications, multiplications
from xpscale.model.folding import fold
from xpscale.model.fused import FusedVAE
from xpscale.model.network_kernels import exp_of, log_of
from xpscale.model.scatter_vae import NetworkModule

N = 300  # more than two tiles, and no whole number of them


def network(name: str, hidden: tuple[int, ...], n_latents: int = 6) -> NetworkModule:
    """A network whose second look and axes do something."""
    torch.manual_seed(1)
    made = build(Architecture(Bands(30, 20), n_latents, hidden, name)).eval()
    with torch.no_grad():
        for weights in made.parameters():  # no part of it shall be zero or one
            weights += 0.1 * torch.randn_like(weights)
    if name == "iterative":
        made.turn(torch.linalg.qr(torch.randn(n_latents, n_latents))[0])
    return made.requires_grad_(False)


def deviation(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest one, relative where numbers are above 1; 0 of none."""
    off = (found - exact) / exact.abs().clamp(min=1)
    return float(np.max(np.abs(off.numpy()), initial=0))


def spectra() -> tuple[torch.Tensor, torch.Tensor]:
    """Spectra as they come: with holes, wild values, and some with nothing in them."""
    generator = torch.Generator().manual_seed(2)
    x = 2 * torch.randn(N, 50, generator=generator)
    x_err = 0.01 + torch.rand(N, 50, generator=generator)
    x[3, 5], x[4, 6], x[7] = float("nan"), float("inf"), 1e4
    x[8] = 1e30
    x_err[5, 3], x_err[6, :30], x_err[9] = -1, float("inf"), float("nan")
    x_err[10], x_err[11] = 1e-12, 1e12
    return x, x_err


@pytest.mark.parametrize("n_latents", [1, 2, 6, 9])
@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("noise_aware", (16,)),
        ("noise_aware", (100, 24, 24)),  # 100: the first block is residual, too
        ("iterative", (24, 24, 24)),
        ("iterative", (100, 24)),
        ("iterative", (40, 40, 16)),
        ("iterative", (24, 6)),  # of six latents the decoder's first block is residual, too
    ],
)
def test_the_fused_network_is_the_network(
    name: str, hidden: tuple[int, ...], n_latents: int
) -> None:
    plain = network(name, hidden, n_latents)
    fused = fold(plain)
    assert isinstance(fused, FusedVAE)
    x, x_err = spectra()
    exact = fold(plain, torch.float64).latent_columns(x.double(), x_err.double())
    found, as_trained = (each.latent_columns(x, x_err) for each in (fused, plain))
    for column, values in exact.items():
        own = deviation(as_trained[column], values)
        assert deviation(found[column], values) < max(2e-5, 3 * own), (column, own)
    assert fused.latent_columns(x, x_err, correlates=False).keys() == {"latents"}
    z = found["latents"][:n_latents].T
    decoded, wanted = fused.decode(z), plain.double().decode(z.double())
    ordinary = torch.arange(N) != 8  # its latents are in the millions
    assert deviation(decoded.mean[ordinary], wanted.mean[ordinary]) < 1e-4
    assert deviation(decoded.scatter[ordinary], wanted.scatter[ordinary]) < 1e-4


def test_what_is_not_float32_on_a_cpu_and_what_derives_from_it_stays_as_it_is() -> None:
    plain = network("iterative", (16, 16))
    assert not isinstance(fold(plain, torch.float64), FusedVAE)
    assert not isinstance(fold(SigmoidScatter(plain.architecture)), FusedVAE)
    assert not isinstance(plain, FusedVAE)


def test_it_asks_for_errors() -> None:
    with pytest.raises(InvalidInputError, match="needs the errors"):
        fold(network("iterative", (16,))).latent_columns(spectra()[0])


@pytest.mark.parametrize(
    ("name", "encode", "decode"),
    [
        ("noise_aware", 100 * 16 + 2 * 16 * 16 + 16 * 4, 2 * 16 + 2 * 16 * 16 + 16 * 100),
        # the decoder's guess, and the second look at residuals, first posterior and first h
        (
            "iterative",
            100 * 16 + 512 + 64 + 32 + 512 + 1600 + (50 + 4 + 16) * 16 + 512 + 16 * 5,
            2 * 16 + 512 + 1600,
        ),
    ],
)
def test_multiplications_are_those_of_the_layers(name: str, encode: int, decode: int) -> None:
    assert multiplications(network(name, (16, 16), 2)) == Multiplications(encode, decode)


def test_exp_and_log_are_right_to_the_last_digits() -> None:
    x = np.linspace(-80, 80, 4001, dtype=np.float32)
    found = np.array([exp_of(value) for value in x])
    assert np.abs(found / np.exp(x.astype(float)) - 1).max() < 2e-7
    x = np.geomspace(1e-30, 1e30, 4001).astype(np.float32)
    found, exact = np.array([log_of(value) for value in x]), np.log(x.astype(float))
    assert (np.abs(found - exact) / np.maximum(np.abs(exact), 1)).max() < 2e-7
