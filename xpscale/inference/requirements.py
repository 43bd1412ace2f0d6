"""What spectra and model must have in common before a run is planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.release import require_same_release
from xpscale.relevant_bases import require_relevant_bases
from xpscale.schema import checked_outputs

if TYPE_CHECKING:
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraReader

__all__ = ["require_encodable"]


def require_encodable(
    reader: SpectraReader, model: TrainedModel, outputs: Sequence[str], *, truncate: bool
) -> None:
    """Refuse spectra that a model cannot encode.

    Parameters
    ----------
    reader, model, outputs, truncate
        As of `xpscale.plan_inference`, which also says what is raised.
    """
    _require_model_of(reader, model)
    of_errors = {*checked_outputs(outputs)} - {"latents", "magnitudes"}
    if not reader.has_errors and (of_errors or model.network.needs_errors):
        raise InvalidInputError(
            "the spectra have no coefficient errors, which this model or these outputs need",
            "Add them to the files: bp_coefficient_errors and rp_coefficient_errors",
        )
    if truncate:
        require_relevant_bases(reader.companions, needs_errors=model.network.needs_errors)


def _require_model_of(reader: SpectraReader, model: TrainedModel) -> None:
    if model.bands != reader.bands:
        raise InvalidInputError(
            f"the model takes {model.bands} coefficients of {model.release}, the spectra have"
            f" {reader.bands} of {reader.release}",
            "Use a model trained on spectra of these bands",
        )
    if model.card.release:
        require_same_release("the model", model.release, "the spectra", reader.release)
    if not model.scaling.is_known:
        raise InvalidInputError(
            f"model {model.model_id[:12]} has no scaling, so it cannot be applied to spectra",
            "Import it with --scaling FILE.npz or --scaling-from STORE",
        )
