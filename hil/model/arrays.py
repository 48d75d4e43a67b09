"""Steering of linear movable arrays in torch: batched, differentiable in the positions. Carrier exp(+j 2 pi f t), y = H x."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def steering(positions: Tensor, cosine: Tensor, wavelength: float) -> Tensor:
    """Plane wave: exp(+j 2 pi p c / wavelength). positions (..., antenna) metres of local x; cosine broadcasts over antenna."""
    return torch.exp(2j * math.pi / wavelength * positions * cosine)


def extra_distance(positions: Tensor, cosine: Tensor, curvature: Tensor) -> Tensor:
    """r(p) - R, metres, to a point source at distance R = 1/curvature: exact, and stable down to curvature 0 (a plane wave)."""
    bent = 1.0 - 2.0 * curvature * positions * cosine + (curvature * positions) ** 2
    return (curvature * positions**2 - 2.0 * positions * cosine) / (torch.sqrt(bent) + 1.0)


def towards(positions: Tensor, cosine: Tensor, curvature: Tensor, wavelength: float) -> Tensor:
    """Spherical wave: exp(-j k (r(p) - R)), equal to `steering` at curvature 0. All arguments broadcast."""
    return torch.exp(-2j * math.pi / wavelength * extra_distance(positions, cosine, curvature))


def legal(positions: Tensor, least: Tensor, most: Tensor, spacing: Tensor) -> Tensor:
    """Nearest legal layout (Euclidean): ordered, `spacing` apart, within [least, most]. positions (..., antenna); limits (..., 1).

    With p_n - n spacing the constraint is a bounded monotone sequence; isotonic regression by its min-max formula, then clipping.
    """
    count = positions.shape[-1]
    order = torch.arange(count, dtype=positions.dtype, device=positions.device)
    free = positions - order * spacing
    total = torch.cat([torch.zeros_like(free[..., :1]), free.cumsum(-1)], -1)
    length = order[None, :] - order[:, None] + 1.0  # [first, last]
    means = (total[..., None, 1:] - total[..., :-1, None]) / length.clamp(min=1.0)
    means = torch.where(length >= 1.0, means, torch.full_like(means, math.inf))
    # least over the last element from the right, most over the first element up to here
    least_from = means.flip(-1).cummin(-1).values.flip(-1)
    least_from = torch.where(length >= 1.0, least_from, torch.full_like(least_from, -math.inf))
    monotone = least_from.cummax(-2).values.diagonal(dim1=-2, dim2=-1)
    return torch.minimum(torch.maximum(monotone, least), most - (count - 1) * spacing) + order * spacing
