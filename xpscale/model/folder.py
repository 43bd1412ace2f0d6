"""A model's folder, read and checked with numpy alone.

::

    MODEL/
        model.safetensors     weights, scaling, training density, typicality
        decoder.safetensors   those of them that decode latents, for whoever reads from afar
        card.json             what it is and where it comes from; written last: then it is complete

A model is named by its content: ``model_id`` is the sha256 of architecture, weights, scaling,
density and typicality, whatever the card says about them.  Reading computes it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.model.card import Architecture, ModelCard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.storage import Storage

__all__ = [
    "CARD",
    "DECODER",
    "WEIGHTS",
    "content_hash",
    "damaged",
    "decoder_bytes",
    "read_card",
    "read_decoder",
    "read_folder",
]

WEIGHTS = "model.safetensors"
DECODER = "decoder.safetensors"
DECODES = (
    "scaling.",
    *(f"network.{n}" for n in ("axes", "decoder.", "mean.", "scatter.", "spectrum.")),
)
"""How the names of the tensors begin that decoders use."""

CARD = "card.json"


def content_hash(architecture: Architecture, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Hex sha256 of a model.

    Parameters
    ----------
    architecture
        Of its network.
    tensors
        All others of its content, by name.
    """
    digest = hashlib.sha256(json.dumps(architecture.to_dict(), sort_keys=True).encode())
    for name, values in sorted(tensors.items()):
        little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        digest.update(f"\n{name} {values.dtype.name} {values.shape}\n".encode())
        digest.update(little_endian.tobytes())
    return digest.hexdigest()


def read_card(storage: Storage) -> ModelCard:
    """The card of the model in a folder.

    Raises
    ------
    NotFoundError
        If no complete model is there.
    InvalidInputError
        If it is no card, or of another format.
    """
    try:
        text = storage.read(CARD)
    except NotFoundError as error:
        raise NotFoundError(
            f"there is no model at {storage} (no {CARD})", "Check the address, or train one"
        ) from error
    return ModelCard.from_json(text, f"{storage}/{CARD}")


def read_folder(
    storage: Storage, card: ModelCard | None = None
) -> tuple[ModelCard, dict[str, NDArray[Any]]]:
    """Card and tensors of the model in a folder, checked against the hash on the card.

    Parameters
    ----------
    storage
        The model's folder.
    card
        Its card, if it has been read.

    Raises
    ------
    NotFoundError
        If no complete model is there.
    InvalidInputError
        If what is there is broken, or is not what the card says.
    """
    card = card or read_card(storage)
    try:
        tensors = safetensors.numpy.load(storage.read(WEIGHTS))
    except safetensors.SafetensorError as error:
        raise damaged(storage, error) from error
    found = content_hash(card.architecture, tensors)
    if found != card.model_id:
        raise InvalidInputError(
            f"{storage} is not the model its card names: content {found[:12]}, card"
            f" {card.model_id[:12]}",
            "Fetch or train the model again",
        )
    return card, tensors


def decoder_bytes(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of `DECODER`.

    Parameters
    ----------
    tensors
        Of the whole model, by name.
    """
    return bytes(
        safetensors.numpy.save({n: t for n, t in tensors.items() if n.startswith(DECODES)})
    )


def read_decoder(storage: Storage) -> tuple[ModelCard, dict[str, NDArray[Any]]]:
    """As `read_folder`, but only the tensors that decoders use, where they lie apart.

    Parameters
    ----------
    storage
        The model's folder.

    Raises
    ------
    NotFoundError, InvalidInputError
        As `read_folder`.
    """
    card = read_card(storage)
    if not card.decoder_sha256:  # of an earlier version of xpscale
        return read_folder(storage, card)
    data = storage.read(DECODER)
    if hashlib.sha256(data).hexdigest() != card.decoder_sha256:
        raise InvalidInputError(
            f"{storage}/{DECODER} is not what the model's card names",
            "Fetch or train the model again",
        )
    return card, safetensors.numpy.load(data)


def damaged(storage: Storage, error: Exception) -> InvalidInputError:
    """The error for weights that cannot be used.

    Parameters
    ----------
    storage
        The model's folder.
    error
        What was found.
    """
    reason = " ".join(str(error).split())[:300]
    return InvalidInputError(
        f"{storage}/{WEIGHTS} is damaged: {reason}", "Fetch or train the model again"
    )
