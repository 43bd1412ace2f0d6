"""The weights Laroche & Speagle released, in our names.

Their ``weight.pt`` (https://github.com/AlexLaroche7/xp_vae, MIT) is a pickle with the keys
``model_state_dict``, ``optimizer_state_dict``, ``optimizer`` and ``epoch``; only tensors and plain
values are ever unpickled from it.  The scaling they trained with (``apogee_norm.npz``: ``mu`` and
``sig``) is a separate file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.model.card import Architecture, ModelCard, software
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.release import DR3, Release

__all__ = ["import_published", "load_published_network"]


def import_published(
    weight_path: str | Path,
    scaling: Scaling | None = None,
    density: TrainingDensity | None = None,
    release: Release = DR3,
) -> TrainedModel:
    """The published network as a model of ours; save it with `TrainedModel.save`.

    Parameters
    ----------
    weight_path
        Their ``weight.pt``.
    scaling
        Mean and standard deviation of the normalized coefficients: `Scaling.from_npz` of their
        file, or `Scaling.fit` on a store.  Without one the model works on standardized inputs only,
        and refuses spectra.
    density
        The training sample's density, where it is known.
    release
        The data release they were trained on.

    Raises
    ------
    InvalidInputError
        If the file is not one of theirs, or the scaling has another width.
    NotFoundError
        If there is no such file.
    """
    bands = release.known_bands if scaling is None else scaling.bands
    network = load_published_network(weight_path, bands)
    notes = (
        "Weights published by Laroche & Speagle (2025), trained on 452,079 APOGEE stars; two of six"
        " latents are collapsed."
    )
    if scaling is None:
        notes += " Imported without a scaling: standardized inputs only."
    card = ModelCard(
        architecture=network.architecture,
        release=release.name,
        software=software(),
        training={"preset": "laroche2024", "imported_from": Path(weight_path).name},
        notes=notes,
    )
    return TrainedModel.create(
        network,
        scaling or Scaling.unknown(bands),
        density or TrainingDensity.unknown(bands),
        card,
    )


def load_published_network(weight_path: str | Path, bands: Bands = DR3.known_bands) -> ScatterVAE:
    """The published network alone, in evaluation mode; it takes standardized inputs.

    Parameters
    ----------
    weight_path
        Their ``weight.pt``.
    bands
        The bands of the spectra they were trained on.

    Raises
    ------
    InvalidInputError
        If the file is not one of theirs, or of another number of coefficients.
    NotFoundError
        If there is no such file.
    """
    path = Path(weight_path)
    state = _read_state(path)
    network = ScatterVAE(_architecture(state, bands, path))
    try:
        n_hidden = len(network.architecture.hidden)
        network.load_state_dict({_our_name(key, n_hidden): tensor for key, tensor in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInputError(
            f"{path} does not hold the published scatter VAE: {reason}"
        ) from error
    return network.eval()


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "Give the path of the authors' weight.pt")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling what is no pickle raises anything
        raise InvalidInputError(
            f"{path} is not a PyTorch weight file", "Give the authors' weight.pt"
        ) from error
    state = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(tensor, Tensor) for tensor in state.values()
    ):
        raise InvalidInputError(
            f"{path} holds no model_state_dict of tensors", "Give the authors' weight.pt"
        )
    return state


def _architecture(state: dict[str, Tensor], bands: Bands, path: Path) -> Architecture:
    """The widths, read from the shapes of the weights."""
    try:
        widths = [state["encoder.0.0.weight"].shape[1]]
        while (key := f"encoder.{len(widths) - 1}.0.weight") in state:
            widths.append(state[key].shape[0])
        n_latents = state["mu.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise InvalidInputError(
            f"{path} is not a scatter VAE: it lacks {error}", "Give the authors' weight.pt"
        ) from error
    if widths[0] != bands.n_coefficients:
        raise InvalidInputError(
            f"{path} takes {widths[0]} coefficients, not {bands}",
            "Say which release it is of, or use a scaling of its width",
        )
    return Architecture(bands, n_latents, tuple(widths[1:]))


def _our_name(key: str, n_hidden: int) -> str:
    """``decoder.5.0.weight`` -> ``mean.5.weight``: their last layer stands in a Sequential of its
    own, ours does not.
    """
    part, _, rest = key.partition(".")
    part = {"mu": "latent_mean", "log_var": "latent_log_var", "decoder": "mean"}.get(part, part)
    if part in ("mean", "scatter"):
        rest = rest.replace(f"{n_hidden}.0.", f"{n_hidden}.")
    return f"{part}.{rest}"
