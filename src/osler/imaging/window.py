"""Which pixel values a viewer shows as black, as white and between: the value-of-interest step of DICOM.

Source: DICOM PS3.3, C.11.2.1.2 (windows) and C.11.2.1.1 (lookup tables).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.imaging.depth import TOPS, Depth, Levels

__all__ = ["Window"]


@dataclass(frozen=True, eq=False)
class Window:
    """A map from pixel values to the shades 0 to 255, computed only where `preparation.range: window` asks for it.

    Attributes:
        shape: the function; "linear" has the half-pixel offsets of DICOM's default, "linear_exact" has none.
        center: of the window; of a table, the value that its first entry is for.
        width: of the window, above 0; a "linear" one at least 1.
        table: of shape "table" alone, (N,) shades from 0 to 255.
    """

    shape: Literal["linear", "linear_exact", "sigmoid", "table"]
    center: float
    width: float = 1.0
    table: NDArray[np.float64] | None = None

    @classmethod
    def between(cls, low: float, high: float) -> Window:
        """The linear window in which `low` is black and `high` white; a step where the two are equal.

        >>> Window.between(0, 100).shades(np.array([-5, 0, 50, 100])).tolist()
        [0, 0, 128, 255]
        """
        return cls("linear_exact", low / 2 + high / 2, max(high - low, float(np.finfo(np.float64).tiny)))

    def shades(self, values: NDArray[Any], dtype: Depth = "uint8") -> Levels:
        """0 to 255 for each value, or 0 to 65535 of 16 bits, rounded half to even.

        >>> Window("linear", 2048, 4096).shades(np.array([0, 4095])).tolist()
        [0, 255]
        >>> Window("sigmoid", 10, 4).shades(np.array([10.0])).tolist()
        [128]
        >>> Window("table", 100, table=np.array([0.0, 51.0, 255.0])).shades(np.array([7, 101, 900])).tolist()
        [0, 51, 255]
        """
        return np.rint(self._shares(values.astype(np.float64)) * float(TOPS[dtype])).astype(dtype)

    def _shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.shape == "table":
            assert self.table is not None
            places = np.clip(np.rint(values - self.center), 0, len(self.table) - 1).astype(np.intp)
            return self.table[places] / 255.0
        with np.errstate(over="ignore"):  # far outside a narrow window the quotient is infinite, and clipped
            if self.shape == "sigmoid":
                return 1.0 / (1.0 + np.exp(-4.0 * ((values - self.center) / self.width)))
            if self.shape == "linear_exact":
                return np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0)
            if self.width <= 1.0:
                return (values > self.center - 0.5).astype(np.float64)
            return np.clip((values - (self.center - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)
