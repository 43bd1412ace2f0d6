"""A model of labels as one file: arrays in the safetensors format, the rest as JSON in its head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.labels.label_model import FittedLabel, LabelModel, LabelScore
from xpscale.labels.regression import Kernel, Regression
from xpscale.storage import Storage
from xpscale.storage.single_file import put_file

__all__ = ["content_hash", "load_label_model", "save_label_model"]

FORMAT = "xpscale labels 1"


def save_label_model(model: LabelModel, path: str, *, overwrite: bool = False) -> None:
    """Write a model of labels as one file.

    Parameters
    ----------
    model
        The model.
    path
        Path or URL of the file.
    overwrite
        Replace a file that is there.

    Raises
    ------
    ConflictError
        A file is there, and ``overwrite`` is false.
    """
    import safetensors.numpy

    arrays, head = _to_arrays(model)
    data = safetensors.numpy.save(arrays, {"format": FORMAT, "labels": json.dumps(head)})
    put_file(path, data, overwrite=overwrite)


def content_hash(model: LabelModel) -> str:
    """sha256 of all that a model of labels consists of, as hex digits; files of the same model
    differ in the order of their entries.

    Parameters
    ----------
    model
        The model.
    """
    arrays, head = _to_arrays(model)
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def load_label_model(path: str) -> LabelModel:
    """Read what `save_label_model` wrote.

    Parameters
    ----------
    path
        Path or URL of the file.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is something else, or damaged.
    """
    import safetensors
    import safetensors.numpy

    place = Storage(path)
    data = place.parent.read(place.name)
    try:
        arrays = safetensors.numpy.load(data)
        size = int.from_bytes(data[:8], "little")
        head: Mapping[str, str] = json.loads(data[8 : 8 + size])["__metadata__"]
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']}")
        return _from_arrays(arrays, json.loads(head["labels"]))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InvalidInputError(
            f"{path} is no model of labels: {error}", "Make one: xpscale labels fit"
        ) from error


def _to_arrays(model: LabelModel) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a model by name, and the rest as JSON can hold it."""
    arrays: dict[str, NDArray[Any]] = {"center": model.center, "spread": model.spread}
    head: dict[str, Any] = {"model_id": model.model_id, "n_stars": model.n_stars, "labels": []}
    for number, (name, label) in enumerate(model.labels.items()):
        r = label.regression
        parts = {
            "lengths": r.kernel.r,
            "inducing": r.inducing,
            "weights": r.weights,
            "root_told": r.root_told,
            "variance_weights": r.variance_weights,
            "at": label.at,
            "factor": label.factor,
        }
        arrays |= {f"{number}.{key}": np.ascontiguousarray(value) for key, value in parts.items()}
        head["labels"].append(
            {
                "name": name,
                "a": r.kernel.a,
                "b": r.kernel.b,
                "center": r.center,
                "spread": r.spread,
                "is_log": label.is_log,
                "unit": label.unit,
                "range": [label.lowest, label.highest],
                "score": asdict(label.score),
            }
        )
    return arrays, head


def _from_arrays(arrays: dict[str, NDArray[Any]], head: dict[str, Any]) -> LabelModel:
    """The model that `_to_arrays` took apart.

    Parameters
    ----------
    arrays, head
        Its result.
    """
    labels = {}
    for number, one in enumerate(head["labels"]):
        own = f"{number}."
        part = {key.removeprefix(own): arrays[key] for key in arrays if key.startswith(own)}
        regression = Regression(
            Kernel(one["a"], one["b"], part["lengths"]),
            part["inducing"],
            part["weights"],
            part["root_told"],
            part["variance_weights"],
            one["center"],
            one["spread"],
        )
        lowest, highest = one["range"]
        labels[one["name"]] = FittedLabel(
            regression,
            one["is_log"],
            one["unit"],
            lowest,
            highest,
            part["at"],
            part["factor"],
            LabelScore(**one["score"]),
        )
    return LabelModel(labels, arrays["center"], arrays["spread"], head["model_id"], head["n_stars"])
