"""Field response in torch: the channel from any positions on a rail to one far antenna, out of fitted paths.

h(p, f) = sum_l g_l exp(-j k (r_l(p) - R_l)) exp(-j 2 pi f tau_l), times the gain of the chain of the element at p, as
`hil.knowledge.FieldResponse` defines it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hil.knowledge import FieldResponse
from hil.model.arrays import towards


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Paths of several links, padded with zero gains: gains, cosines, curvatures, delays each (link..., path). chains: (link..., antenna)."""

    gains: Tensor
    cosines: Tensor
    curvatures: Tensor
    delays: Tensor
    chains: Tensor
    wavelength: float

    def waves(self, positions: Tensor) -> Tensor:
        """c_n g_l exp(-j k (r_l - R_l)): (..., link..., path, antenna) for positions that broadcast to (..., link..., antenna)."""
        shape = (self.cosines[..., None], self.curvatures[..., None])
        return self.gains[..., None] * self.chains[..., None, :] * towards(positions[..., None, :], *shape, self.wavelength)

    def channel(self, positions: Tensor, frequencies_hz: Tensor) -> Tensor:
        """(..., link..., frequency, antenna)."""
        turns = torch.exp(-2j * math.pi * frequencies_hz[:, None] * self.delays[..., None, :])
        return turns @ self.waves(positions)


def response(paths: Sequence[Sequence[FieldResponse]], wavelength: float, strongest: int | None = None) -> Response:
    """Of paths[transmitter][user]: links are (transmitter, user); give positions as (..., transmitter, 1, antenna).

    strongest: keep so many paths of each link, the largest gains; a fit's field of unresolved waves is long and weak.
    """
    kept = [[np.argsort(-np.abs(np.atleast_1d(fit.gains)), kind="stable")[:strongest] for fit in row] for row in paths]
    most = max((one.size for row in kept for one in row), default=0)

    def padded(name: str, kind: type) -> Tensor:
        rows = [
            [np.pad(np.asarray(getattr(fit, name), kind)[one], (0, most - one.size)) for fit, one in zip(row, ones)]
            for row, ones in zip(paths, kept)
        ]
        return torch.as_tensor(np.array(rows))

    chains = torch.as_tensor(np.array([[np.asarray(fit.chains, complex) for fit in row] for row in paths]))
    return Response(
        padded("gains", complex), padded("cosines", float), padded("curvatures", float), padded("delays", float), chains, wavelength
    )
