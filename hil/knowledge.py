"""What is known and what is decided: the values that estimators hand to designers and designers to the loop.

A designer sees a problem and a `Knowledge`, nothing else. Truth has no place here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Loss


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A value, how sure we are, and what that rests on.

    value: any shape; covariance: of the flattened real parameters (or as the estimator documents). `bound` has the shape of the
    covariance: the Cramer-Rao bound of the fitted model at the estimate. `epoch` is where the value holds (None: does not age). Below
    threshold a value is kept for the record, never used in a set.
    """

    what: str
    of: str
    value: NDArray[Any]
    covariance: NDArray[Any]
    unit: str
    bound: NDArray[Any] | None = None
    epoch: Instant | None = None
    above_threshold: bool = True
    loss: Loss = Loss.UNKNOWN
    assumptions: tuple[str, ...] = ()
    residual_test: float | None = None  # residual energy over its degrees of freedom; 1 when the model holds
    sources: tuple[str, ...] = ()  # capture names

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviations: square roots of the covariance's diagonal (last two axes)."""
        return np.sqrt(np.real(np.diagonal(np.atleast_2d(self.covariance), axis1=-2, axis2=-1)))

    @property
    def bound_std(self) -> NDArray[np.float64] | None:
        if self.bound is None:
            return None
        return np.sqrt(np.real(np.diagonal(np.atleast_2d(self.bound), axis1=-2, axis2=-1)))


class FieldResponse(Protocol):
    """Paths between one array and one far antenna, from captures at several positions: the channel where no antenna has been.

    Elements keep their order on the rail, and each has a chain with a gain of its own: element n at p is heard as chains[n] h(p, f).
    Each path is a point source seen from the array: h(p, f) = sum_l g_l exp(-j k (r_l(p) - R_l)) exp(-j 2 pi f tau_l), with
    r_l(p) = sqrt(R_l^2 - 2 R_l p c_l + p^2), p metres along the array's local x from its origin, f baseband hertz, k = 2 pi/wavelength.
    """

    gains: NDArray[np.complex128]  # (path,)
    cosines: NDArray[np.float64]  # (path,) cosine between local x and the direction towards the source
    curvatures: NDArray[np.float64]  # (path,) 1/R_l in 1/m; 0 is a plane wave
    delays: NDArray[np.float64]  # (path,) seconds, relative
    chains: NDArray[np.complex128]  # (antenna,) relative to the first
    above_threshold: bool

    def predict(self, positions: Any, frequencies_hz: Any, elements: Any = None) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Channel (position, frequency) and its error variance (position, frequency), E|h_hat - h|^2.

        elements: (position,) which element stands at each; None: the first, wherever.
        """

    def channel(self, positions: Any, frequencies_hz: Any, elements: Any = None) -> NDArray[np.complex128]:
        """The channel alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Reflections:
    """What is known of targets that several base stations light and hear, one target to a base station.

    angle: (base station, target) radians from broadside at the base station, sine towards local x; angle_std of that. gain: (base station,
    target) complex, base station n -> target m -> base station m, amplitude over amplitude. phase_std: (base station, target) radians of
    its phase when a design is in force, infinite where nothing is known of it. noise: (base station,) watts per tone and receive element.
    sent: (base station, antenna) gains of the transmit chains over that of an average one, or None: nothing is known, all are taken alike.
    """

    angle: NDArray[np.float64]
    angle_std: NDArray[np.float64]
    gain: NDArray[np.complex128]
    phase_std: NDArray[np.float64]
    noise: NDArray[np.float64]
    assumptions: tuple[str, ...] = ()
    sent: NDArray[np.complex128] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """All a designer may know. Axes: (transmitter, user, ...), antennas in order along the rail.

    positions: (transmitter, antenna) metres of local x where `channel` was measured. channel.value: (transmitter, user, tone, 1,
    antenna), delays referred so that a block's mean is coherent; channel.covariance: (transmitter, user, block, antenna, antenna) of
    the error common to a block. radius: (transmitter, user, block) of the ball around it, all of them jointly at `confidence`.
    `channel` is None before the present positions were sounded; `paths[(transmitter, user)]` then predicts it.
    """

    version: int
    confidence: float
    noise: Estimate  # value (user,) watts per tone
    positions: NDArray[np.float64]
    channel: Estimate | None = None
    radius: NDArray[np.float64] | None = None
    paths: Mapping[tuple[int, int], FieldResponse] = field(default_factory=dict)
    target: Estimate | None = None  # value (3,) metres in the world frame; the scenario's prior before the first echo
    moving: NDArray[np.float64] | None = None  # (transmitter, user) by how much what moves may be off, norm over root of antennas; in `radius`
    records: tuple[str, ...] = ()
    reflections: Reflections | None = None  # where several base stations sense


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What a designer decided. Objectives are in `unit`; for SINR problems decibels of the worst user and block.

    precoders: (transmitter, block, antenna, stream) square-root watts per tone; positions: (transmitter, antenna) metres of local x.
    promised: worst case over the sets; predicted: at the estimate; bound: no design at these positions passes it; `bound_anywhere`:
    loose, at any positions.
    """

    precoders: NDArray[np.complex128]
    positions: NDArray[np.float64]
    promised: float | None = None
    predicted: float | None = None
    bound: float | None = None
    bound_anywhere: float | None = None
    promised_each: NDArray[np.float64] | None = None  # (user, block)
    predicted_each: NDArray[np.float64] | None = None  # (user, block)
    unit: str = "dB"
    designer: str = ""
    steps: int = 0
    stopped: str = ""
    knowledge: int = -1  # version of the knowledge it was made from
    mode: str = ""  # of a multi-cell design: cbf or comp, who sends what
    kind: str = ""  # and blp or slp: precoders whatever the payload, or a waveform for the symbols it carries
    sensing_std: NDArray[np.float64] | None = None  # (target,) radians, what bounds the standard deviation of its angle, worst view
