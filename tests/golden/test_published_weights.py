"""The published weights give the published numbers.

``golden.npz`` holds float32 outputs of the reference code from another CPU.  Its own rounding moves
them up to 2.4e-5 from the float64 result, so "equal to 1e-6" is asked where it can hold on every
machine: element by element against the reference formula evaluated *here*, and in the root mean
square against the stored outputs."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xpscale.model.folding import fold
from xpscale.model.published import load_published_network

DATA = Path(os.environ.get("XPSCALE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
PUBLISHED = DATA / "published_model"
OUTPUTS = ("latent_mean", "latent_log_var", "reconstruction", "scatter")

pytestmark = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published model at {PUBLISHED}")


@pytest.fixture(scope="module")
def golden():
    with np.load(PUBLISHED / "golden.npz") as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file}


@pytest.fixture(scope="module")
def network():
    return load_published_network(PUBLISHED / "weight.pt")


def outputs(network, x, x_err):
    with torch.inference_mode():
        posterior = network.encode(x)
        reconstruction = network.decode(posterior.mean)
    return {
        "latent_mean": posterior.mean,
        "latent_log_var": posterior.log_var,
        "reconstruction": reconstruction.mean,
        "scatter": reconstruction.scatter,
        "nll_at_mean": reconstruction.nll(x, x_err).double().mean(),
        "kl": posterior.kl().double().mean(),
    }


def reference_outputs(x):
    """The authors' forward pass, spelled out over their own state dict."""
    s = torch.load(PUBLISHED / "weight.pt", map_location="cpu", weights_only=True)[
        "model_state_dict"
    ]

    def linear(h, key):
        return F.linear(h, s[f"{key}.weight"], s[f"{key}.bias"])

    def block(h, key):
        norm = f"{key}.1"
        h = linear(h, f"{key}.0")
        moments = s[f"{norm}.running_mean"], s[f"{norm}.running_var"]
        return F.gelu(
            F.batch_norm(
                h, *moments, s[f"{norm}.weight"], s[f"{norm}.bias"], training=False, eps=1e-5
            )
        )

    def up(z, part):
        h = linear(z, f"{part}.0")
        for b in range(1, 5):
            h = block(h, f"{part}.{b}")
        return linear(h, f"{part}.5.0")

    h = x
    for b in range(5):
        h = block(h, f"encoder.{b}")
    mu = linear(h, "mu")
    return {
        "latent_mean": mu,
        "latent_log_var": linear(h, "log_var"),
        "reconstruction": up(mu, "decoder"),
        "scatter": up(mu, "scatter").sigmoid(),
    }


def test_the_published_weights_compute_the_reference_formula(network, golden):
    found, reference = (
        outputs(network, golden["x"], golden["x_err"]),
        reference_outputs(golden["x"]),
    )
    for name in OUTPUTS:
        assert (found[name] - reference[name]).abs().max() <= 1e-6, name


def test_the_published_weights_give_the_stored_outputs(network, golden, capsys):
    found = outputs(network, golden["x"], golden["x_err"])
    for name in OUTPUTS:
        difference = (found[name] - golden[name]).abs().double()
        with capsys.disabled():
            print(
                f"\n{name}: max {difference.max():.2e}, rms"
                f" {difference.square().mean().sqrt():.2e}",
                end="",
            )
        assert difference.square().mean().sqrt() <= 1e-6, name
        assert difference.max() <= 3e-5, (
            name
        )  # the stored numbers' own distance from float64, and a little
    for name in ("nll_at_mean", "kl"):
        assert abs(found[name].item() / golden[name].item() - 1) <= 1e-6, name


def test_folding_changes_rounding_only(network, golden):
    x, x_err = golden["x"], golden["x_err"]
    plain, folded = outputs(network, x, x_err), outputs(fold(network), x, x_err)
    folded_64 = outputs(fold(network, torch.float64), x.double(), x_err.double())
    plain_64 = outputs(
        load_published_network(PUBLISHED / "weight.pt").double(), x.double(), x_err.double()
    )
    for name in OUTPUTS:
        assert (folded[name] - plain[name]).abs().max() < 1e-4, name
        assert (folded_64[name] - plain_64[name]).abs().max() < 1e-10, name
