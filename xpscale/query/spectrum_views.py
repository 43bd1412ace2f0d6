"""Spectra as frames of pandas and as figures."""

from __future__ import annotations

from abc import abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["SpectrumViews"]


class SpectrumViews:
    """What spectra of coefficients and of flux have in common."""

    __slots__ = ()

    @abstractmethod
    def _columns(self) -> dict[str, NDArray[Any] | None]:
        """Columns by name, with shapes that broadcast to that of the spectra (N, W)."""

    def to_pandas(self) -> pd.DataFrame:
        """A frame with one row for each source and each coefficient or wavelength; the columns of
        the posterior's error are there if it is known.
        """
        import pandas as pd

        columns = {name: values for name, values in self._columns().items() if values is not None}
        shape = np.broadcast_shapes(*(values.shape for values in columns.values()))
        return pd.DataFrame(
            {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}
        )

    def plot(self, **options: Any) -> Any:
        """Draw the spectra; figure and axes of `xpscale.plots.spectra.spectra`.

        Parameters
        ----------
        options
            Its other arguments, such as ``observed``.
        """
        # by name, because queries know no plots
        return import_module("xpscale.plots.spectra").spectra(self, **options)
