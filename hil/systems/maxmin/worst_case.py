"""The exact worst case of a max-min design: a common error per (transmitter, user, block) inside a ball.

With s_k = h_k^T w over the tones of a block and one error e, ||e|| <= r, for all of them, e^T w fills a disc of radius r ||w||, so

    least  mean_k |s_k + e^T w|^2 = var_k(s) + max(0, |mean s| - r ||w||)^2      (the serving transmitter)
    most   mean_k |i_k + e^T w|^2 = var_k(i) + (|mean i| + r ||w||)^2            (an interfering one)

Each (transmitter, user, block) has its own ball and enters one SINR only, so all minima are reached together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.knowledge import Knowledge
from hil.systems.maxmin.prediction import predicted_channel
from hil.systems.maxmin.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Channels of one placement, per block. Numpy arrays or torch tensors; leading batch axes allowed in mean, spread and radius.

    mean: (transmitter, user, block, antenna) over the tones of a block. spread: (transmitter, user, block, row, antenna), such that
    var_k(h_k^T w) = ||spread w||^2. radius: (transmitter, user, block). noise: (user,) watts per tone. serving: (user,).
    """

    mean: Any
    spread: Any
    radius: Any
    noise: Any
    serving: tuple[int, ...]

    @property
    def interferes(self) -> NDArray[np.float64]:
        """(transmitter, user, 1): 1 where the transmitter does not serve the user."""
        mask = np.ones((len(self.serving), len(self.serving), 1))
        mask[list(self.serving), np.arange(len(self.serving))] = 0.0
        return mask

    def exact(self) -> Field:
        """The same channels taken for certain."""
        return replace(self, radius=0.0 * self.radius)


def field_of(problem: Problem, channel: NDArray[np.complex128], radius: NDArray[np.float64], noise: NDArray[np.float64]) -> Field:
    """Per-block moments of channel (transmitter, user, tone, antenna)."""
    means, spreads = [], []
    rows = channel.shape[-1]
    for block in range(problem.blocks):
        tones = np.flatnonzero(problem.block_of_tone == block)
        h = channel[:, :, tones]
        mean = h.mean(-2)
        centred = (h - mean[..., None, :]) / np.sqrt(len(tones))
        means.append(mean)
        _, s, vh = np.linalg.svd(centred, full_matrices=False)
        factor = s[..., None] * vh
        pad = rows - factor.shape[-2]
        spreads.append(np.pad(factor, [(0, 0), (0, 0), (0, pad), (0, 0)]) if pad > 0 else factor[..., :rows, :])
    return Field(np.stack(means, 2), np.stack(spreads, 2), np.asarray(radius, float), np.asarray(noise, float), problem.serving)


def known_field(problem: Problem, knowledge: Knowledge) -> Field:
    """What is known at `problem.positions`: the measured channel, or before sounding the path fit's prediction."""
    if problem.positions is None:
        raise InputError("positions", "the positions are not fixed yet", fix="problem.at(positions)")
    noise = np.asarray(knowledge.noise.value, float)
    if knowledge.channel is not None:
        if not np.allclose(knowledge.positions, problem.positions, rtol=0.0, atol=0.01 * problem.wavelength):
            raise InputError("stale-channel", "the channel was measured at other positions",
                             found=f"{np.max(np.abs(knowledge.positions - problem.positions)):.6f} m away",
                             allowed=f"{0.01 * problem.wavelength:.6f} m", fix="sound again, or leave knowledge.channel None")  # fmt: skip
        if knowledge.radius is None:
            raise InputError("no-radius", "a measured channel comes with the radius of its uncertainty set", fix="hil.uncertainty")
        channel = np.asarray(knowledge.channel.value)[..., 0, :]
        return field_of(problem, channel, knowledge.radius, noise)
    return field_of(problem, *predicted_channel(problem, knowledge), noise)


def power(x: Any) -> Any:
    """|x|^2, numpy or torch."""
    return x.real**2 + x.imag**2


def norm(w: Any) -> Any:
    """Euclidean norm over the last axis, numpy or torch; differentiable at zero."""
    return (power(w).sum(-1) + 1e-300) ** 0.5


def powers(field: Field, w: Any) -> tuple[Any, Any]:
    """(least signal, most interference), both (..., transmitter, user, block) watts, of w (..., transmitter, block, antenna)."""
    middle = abs((field.mean * w[..., :, None, :, :]).sum(-1))
    variance = power((field.spread * w[..., :, None, :, None, :]).sum(-1)).sum(-1)
    reach = field.radius * norm(w)[..., :, None, :]
    return variance + (middle - reach).clip(0.0) ** 2, variance + (middle + reach) ** 2


def worst_sinr(field: Field, w: Any) -> Any:
    """Smallest SINR over the set, (..., user, block), of precoders w (..., transmitter, block, antenna) in square-root watts."""
    low, high = powers(field, w)
    signal = low[..., list(field.serving), list(range(len(field.serving))), :]
    mask = field.interferes if isinstance(high, np.ndarray) else high.new_tensor(field.interferes)
    return signal / ((high * mask).sum(-3) + field.noise[:, None])


def worst_errors(field: Field, w: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The errors that reach the worst case, (transmitter, user, block, antenna)."""
    middle = (field.mean * w[:, None]).sum(-1)
    phase = np.where(abs(middle) > 0.0, middle / np.where(abs(middle) > 0.0, abs(middle), 1.0), 1.0)
    size = norm(w)[:, None]
    towards = field.interferes * field.radius + (field.interferes - 1.0) * np.minimum(field.radius, abs(middle) / np.maximum(size, 1e-300))
    return (towards * phase)[..., None] * w.conj()[:, None] / np.maximum(size, 1e-300)[..., None]
