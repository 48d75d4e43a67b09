"""What walking targets write into slow-time statistics: every (transmitter, target) an echo with its own gain, Doppler and delay.

Y_c = sum over targets q and transmitters n of alpha[n, q] a(theta_q) v(phi[n, q])^T T_n(f) exp(-j 2 pi f tau[n, q]) exp(+j 2 pi f_D[n, q] t_c) X_c,
with T_n what the antennas send of each mode. A transmitter at the receiver's own site departs at theta_q itself. Parameters of a target, in
this order: theta; phi[n] of the other transmitters; f_D[n]; tau[n] unless there is only one frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.estimate.clutter import Cleared, Terms
from hil.estimate.stations import Prior, Station, seen
from hil.units import SPEED_OF_LIGHT

__all__ = ["Fields", "Spread"]

TERMS = 5  # of an echo: itself, and its slopes by arrival, departure, Doppler, delay


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations that do not come from a target's place: speed m/s of each echo's Doppler, start seconds of the frames."""

    speed: float = 1.0
    start: float = 0.0


class Fields:
    """Echoes of several targets in one station's capture, with the prior of their parameters."""

    def __init__(
        self, cleared: Cleared, stations: Sequence[Station], own: int, targets: Sequence[Prior], wavelength: float, spread: Spread
    ) -> None:
        self.cleared, self.stations, self.own, self.wavelength = cleared, list(stations), own, wavelength
        slow = cleared.slow
        self.light, self.times, self.frequencies = slow.light, slow.times, slow.frequencies
        self.transmitters, self.count = len(self.stations), len(targets)
        self.delays = len(slow.frequencies) > 1
        others = [n for n in range(self.transmitters) if n != own]
        self.others = others
        views, means, widths = [], [], []
        for prior in targets:
            view, delay = seen(self.stations, own, prior)
            off = prior.std / np.maximum(view[:, 1], prior.std)
            doppler = np.full(self.transmitters, 2.0 * spread.speed / wavelength)
            late = np.full(self.transmitters, np.hypot(2.0 * prior.std / SPEED_OF_LIGHT, spread.start))
            means.append([view[own, 0], *view[others, 0], *np.zeros(self.transmitters), *(delay if self.delays else ())])
            widths.append([off[own], *off[others], *doppler, *(late if self.delays else ())])
            views.append(view)
        self.views = np.array(views)  # (target, transmitter, azimuth ground height)
        self.mean, self.width = np.array(means), np.array(widths)  # (target, parameter)
        self.echoes = [(n, q) for q in range(self.count) for n in range(self.transmitters)]

    # -- places of parameters ------------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Parameters of a target."""
        return self.mean.shape[1]

    def departs(self, n: int) -> int:
        return 0 if n == self.own else 1 + self.others.index(n)

    def doppler(self, n: int) -> int:
        return self.transmitters + n

    def delay(self, n: int) -> int:
        return 2 * self.transmitters + n

    # -- fields --------------------------------------------------------------------------------------------------------------------------

    def arrival(self, q: int, azimuth: float) -> tuple[NDArray, NDArray]:
        """(rx,) and its slope."""
        station = self.stations[self.own]
        return station.steering(station.receive, azimuth, *self.views[q, self.own, 1:], self.wavelength)

    def departure(self, n: int, q: int, azimuth: float, delay: float = 0.0) -> tuple[NDArray, NDArray, NDArray]:
        """(block, mode) what transmitter n sends towards the target, and its slopes by azimuth and delay."""
        station = self.stations[n]
        wave, slope = station.steering(station.transmit, azimuth, *self.views[q, n, 1:], self.wavelength)
        late = np.exp(-2j * np.pi * self.frequencies * delay)[:, None]
        sent = np.einsum("i,bim->bm", wave, self.light[n]) * late
        turned = np.einsum("i,bim->bm", slope, self.light[n]) * late
        return sent, turned, -2j * np.pi * self.frequencies[:, None] * sent

    def terms(self, point: NDArray[np.float64], slopes: bool) -> Terms:
        """TERMS of every echo, or only the echoes themselves. point: (target, parameter)."""
        arrival, departure, slow = [], [], []
        for n, q in self.echoes:
            row = point[q]
            a, turned = self.arrival(q, row[0])
            g, by_azimuth, by_delay = self.departure(n, q, row[self.departs(n)], row[self.delay(n)] if self.delays else 0.0)
            e = np.exp(2j * np.pi * row[self.doppler(n)] * self.times)
            arrival += [a, turned, a, a, a] if slopes else [a]
            departure += [g, g, by_azimuth, g, by_delay] if slopes else [g]
            slow += [e, e, e, 2j * np.pi * self.times * e, e] if slopes else [e]
        return Terms(np.array(arrival), np.array(departure), np.array(slow))

    def columns(self, gains: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(term, column) of the derivatives: parameters target by target, then Re and Im of every gain. gains: (echo,)."""
        parameters = self.count * self.size
        mixing = np.zeros((TERMS * len(self.echoes), parameters + 2 * len(self.echoes)), complex)
        for k, (n, q) in enumerate(self.echoes):
            first, gain = q * self.size, gains[k]
            mixing[TERMS * k + 1, first] = gain
            mixing[TERMS * k + 2, first + self.departs(n)] += gain
            mixing[TERMS * k + 3, first + self.doppler(n)] = gain
            if self.delays:
                mixing[TERMS * k + 4, first + self.delay(n)] = gain
            mixing[TERMS * k, parameters + 2 * k] = 1.0
            mixing[TERMS * k, parameters + 2 * k + 1] = 1j
        return mixing

    # -- likelihood ----------------------------------------------------------------------------------------------------------------------

    def precision(self) -> NDArray[np.float64]:
        """(target, parameter) of the prior; the first target's azimuth is what is asked for and has none."""
        precision = self.width**-2.0
        precision[0, 0] = 0.0
        return precision

    def fit(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.complex128], float]:
        """(minus log posterior, gains (echo,), log-likelihood gained over no echo) with the best gains."""
        count = len(self.echoes)
        mixing = np.repeat(np.eye(count, dtype=complex), 2, axis=1) * np.tile([1.0, 1j], count)
        gram, onto = self.cleared.products(self.terms(point, False), mixing)
        weights = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(len(gram)), onto)
        found = float(weights @ onto) / self.cleared.variance
        return float(0.5 * np.sum(self.precision() * (point - self.mean) ** 2)) - found, weights[::2] + 1j * weights[1::2], found

    def normal(self, point: NDArray[np.float64], gains: NDArray[np.complex128]) -> tuple[NDArray, NDArray]:
        """Normal matrix and descent direction of minus log posterior over all columns, parameters and gains."""
        gram, onto = self.cleared.products(self.terms(point, True), self.columns(gains))
        parameters = self.count * self.size
        held = np.append(np.zeros(parameters), gains.view(float))
        scale = 2.0 / self.cleared.variance
        normal, pull = scale * gram, scale * (onto - gram @ held)
        precision = self.precision().ravel()
        normal[np.arange(parameters), np.arange(parameters)] += precision
        pull[:parameters] -= precision * (point - self.mean).ravel()
        return normal, pull

    def refined(self, point: NDArray[np.float64], steps: int = 12) -> tuple[float, NDArray[np.float64]]:
        """Levenberg-Marquardt with the gains following: (minus log posterior, point) of the lobe around `point`."""
        cost, gains, _ = self.fit(point)
        most, damping = self.width.copy(), 1e-3
        most[:, : self.transmitters] = np.minimum(most[:, : self.transmitters], 0.15)  # rad, at once
        for _ in range(steps):
            normal, pull = self.normal(point, gains)
            size = np.sqrt(np.maximum(np.diagonal(normal), 1e-300))
            scaled = normal / np.outer(size, size)
            parameters = point.size
            for _ in range(6):
                step = np.linalg.solve(scaled + damping * np.eye(len(scaled)), pull / size)
                step = np.clip((step / size)[:parameters].reshape(point.shape), -most, most)
                fresh, its, _ = self.fit(point + step)
                if fresh <= cost:
                    break
                damping *= 10.0
            else:
                return cost, point
            gained, cost, point, gains = cost - fresh, fresh, point + step, its
            damping = max(damping / 10.0, 1e-9)
            if gained < 1e-4:
                break
        return cost, point

    def covariance(self, normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of a normal matrix whose parameters have very different units."""
        size = np.sqrt(np.maximum(np.diagonal(normal), 1e-300))
        inverse = np.linalg.pinv(normal / np.outer(size, size), rcond=1e-13, hermitian=True)
        return inverse / np.outer(size, size)
