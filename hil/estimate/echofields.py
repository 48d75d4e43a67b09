"""What walking targets write into slow-time statistics: every (transmitter, target) an echo with its own gain, Doppler and delay.

Y_c = sum over targets q and transmitters n of alpha[n, q] C a(theta_q) v(phi[n, q])^T T_n(f) exp(-j 2 pi f tau[n, q]) exp(j psi[n, q](t_c)) X_c,
with T_n what the antennas send of each mode, C the gains of the chains that hear. Nobody walks evenly: psi is of third order in time, and
angles are of first, linearised in what they move by within a capture. A transmitter at the receiver's own site departs at theta_q itself.
Parameters of a target, in this order: theta; phi[n] of the other transmitters; Doppler f_D[n], its rate (Hz/s) and the rate of that;
how fast theta turns (rad/s) and each other phi[n]; tau[n] unless there is only one frequency. Beside them, where chains are not known
exactly, the relative errors of their gains.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from hil.estimate.clutter import Cleared, Terms
from hil.estimate.stations import Prior, Station, seen
from hil.units import SPEED_OF_LIGHT

__all__ = ["Chains", "Fields", "Spread"]

TERMS = 9  # of an echo: itself, its slopes by arrival, departure, delay, Doppler and two rates; arrival and departure turning
LEAST = 1e-4  # of a chain's gain: known to 80 dB is exact


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations that do not come from a target's place. speed: m/s, of each echo's Doppler and of how angles turn; turn: m/s^2 by
    which a walker changes his speed; jerk: m/s^3; start: seconds of the frames."""

    speed: float = 1.0
    start: float = 0.0
    turn: float = 0.5
    jerk: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """Gains of the chains behind the elements, as far as they are known. heard: (rx,); sent: (antenna,) of each transmitter. heard_error,
    sent_error: (2 (element - 1), 2 (element - 1)) covariance of the relative errors of chains 1, 2, ... against the first, Re and Im
    interleaved; None: exact."""

    heard: NDArray[np.complex128]
    sent: tuple[NDArray[np.complex128], ...]
    heard_error: NDArray[np.float64] | None = None
    sent_error: tuple[NDArray[np.float64] | None, ...] = ()

    @classmethod
    def even(cls, stations: Sequence[Station], own: int) -> Chains:
        """All alike, exactly."""
        ones = lambda places: np.ones(len(places), complex)
        return cls(ones(stations[own].receive), tuple(ones(one.transmit) for one in stations), None, (None,) * len(stations))

    @property
    def precision(self) -> NDArray[np.float64]:
        """Of all errors together: receive chains, then each transmitter's."""
        parts = [part for part in (self.heard_error, *self.sent_error) if part is not None]
        return linalg.block_diag(np.zeros((0, 0)), *(np.linalg.inv(part + LEAST**2 * np.eye(len(part))) for part in parts))

    def places(self) -> tuple[slice, list[slice]]:
        """Where in the vector of errors the receive chains are, and each transmitter's."""
        sizes = [0 if part is None else len(part) for part in (self.heard_error, *self.sent_error)]
        ends = np.cumsum([0, *sizes])
        each = [slice(int(begin), int(end)) for begin, end in itertools.pairwise(ends)]
        return each[0], each[1:]

    def off(self, errors: NDArray[np.float64]) -> tuple[NDArray[np.complex128], list[NDArray[np.complex128]]]:
        """(rx,) and (antenna,) of each transmitter: gains with these errors."""
        ears, mouths = self.places()
        turned = lambda gains, at: gains * (1.0 + np.append(0.0, errors[at].view(complex))) if at.stop > at.start else gains
        return turned(self.heard, ears), [turned(gains, at) for gains, at in zip(self.sent, mouths)]


class Fields:
    """Echoes of several targets in one station's capture, with the prior of their parameters."""

    def __init__(
        self, cleared: Cleared, stations: Sequence[Station], own: int, targets: Sequence[Prior], wavelength: float, spread: Spread,
        chains: Chains | None = None,
    ) -> None:  # fmt: skip
        self.cleared, self.stations, self.own, self.wavelength = cleared, list(stations), own, wavelength
        self.chains = chains or Chains.even(stations, own)
        self.held = self.chains.precision
        slow = cleared.slow
        self.light, self.times, self.frequencies = slow.light, slow.times, slow.frequencies
        self.transmitters, self.count = len(self.stations), len(targets)
        self.delays = len(slow.frequencies) > 1
        self.others = [n for n in range(self.transmitters) if n != own]
        order = [own, *self.others]  # of angles
        views, means, widths = [], [], []
        still = np.zeros(self.transmitters)
        for prior in targets:
            view, delay = seen(self.stations, own, prior)
            ground = np.maximum(view[order, 1], prior.std)
            each = 2.0 / wavelength * np.ones(self.transmitters)
            late = np.full(self.transmitters, np.hypot(2.0 * prior.std / SPEED_OF_LIGHT, spread.start))
            means.append([*view[order, 0], *still, *still, *still, *still, *(delay if self.delays else ())])
            widths.append([*(prior.std / ground), *(spread.speed * each), *(spread.turn * each), *(spread.jerk * each), *(spread.speed / ground),
                           *(late if self.delays else ())])  # fmt: skip
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

    def doppler(self, n: int, order: int = 0) -> int:
        """Its place, or that of its rate, or of the rate of that."""
        return (1 + order) * self.transmitters + n

    def turning(self, n: int) -> int:
        return 4 * self.transmitters + self.departs(n)

    def delay(self, n: int) -> int:
        return 5 * self.transmitters + n

    @property
    def known(self) -> NDArray[np.float64]:
        """No errors of chains."""
        return np.zeros(len(self.held))

    # -- fields --------------------------------------------------------------------------------------------------------------------------

    def arrival(self, q: int, azimuth: float, gains: NDArray[np.complex128] | None = None) -> tuple[NDArray, NDArray]:
        """(rx,) and its slope, through chains of these gains or those known."""
        station = self.stations[self.own]
        gains = self.chains.heard if gains is None else gains
        wave, slope = station.steering(station.receive, azimuth, *self.views[q, self.own, 1:], self.wavelength)
        return gains * wave, gains * slope

    def departure(
        self, n: int, q: int, azimuth: float, delay: float = 0.0, gains: NDArray[np.complex128] | None = None
    ) -> tuple[NDArray, NDArray, NDArray]:
        """(block, mode) what transmitter n sends towards the target, and its slopes by azimuth and delay."""
        each, slopes = self._elements(n, q, azimuth, delay)
        gains = self.chains.sent[n] if gains is None else gains
        sent, turned = np.einsum("i,bim->bm", gains, each), np.einsum("i,bim->bm", gains, slopes)
        return sent, turned, -2j * np.pi * self.frequencies[:, None] * sent

    def _elements(self, n: int, q: int, azimuth: float, delay: float) -> tuple[NDArray, NDArray]:
        """(block, antenna, mode) what each element sends towards the target through an even chain, and its slope by azimuth."""
        station = self.stations[n]
        wave, slope = station.steering(station.transmit, azimuth, *self.views[q, n, 1:], self.wavelength)
        late = self.light[n] * np.exp(-2j * np.pi * self.frequencies * delay)[:, None, None]
        return wave[:, None] * late, slope[:, None] * late

    def terms(self, point: NDArray[np.float64], errors: NDArray[np.float64] | None = None) -> Terms:
        """TERMS of every echo. point: (target, parameter)."""
        arrival, departure, slow = [], [], []
        t = self.times
        ears, mouths = self.chains.off(self.known if errors is None else errors)
        for n, q in self.echoes:
            row = point[q]
            a, turned = self.arrival(q, row[0], ears)
            g, by_azimuth, by_delay = self.departure(n, q, row[self.departs(n)], self._late(row, n), mouths[n])
            e = np.exp(2j * np.pi * sum(row[self.doppler(n, k)] * part for k, part in enumerate(_orders(t))))
            arrival += [a, turned, a, a, a, a, a, turned, a]
            departure += [g, g, by_azimuth, by_delay, g, g, g, g, by_azimuth]
            slow += [e, e, e, e, *(2j * np.pi * part * e for part in _orders(t)), t * e, t * e]
        return Terms(np.array(arrival), np.array(departure), np.array(slow))

    def _late(self, row: NDArray[np.float64], n: int) -> float:
        return float(row[self.delay(n)]) if self.delays else 0.0

    def units(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """(term, echo) which terms make an echo of unit gain."""
        mixing = np.zeros((TERMS * len(self.echoes), len(self.echoes)))
        for k, (n, q) in enumerate(self.echoes):
            mixing[TERMS * k, k] = 1.0
            mixing[TERMS * k + 7, k], mixing[TERMS * k + 8, k] = point[q, self.turning(self.own)], point[q, self.turning(n)]
        return mixing

    def columns(self, point: NDArray[np.float64], gains: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(term, column) of the derivatives: parameters target by target, then Re and Im of every gain. gains: (echo,)."""
        parameters = self.count * self.size
        units = self.units(point)
        mixing = np.zeros((len(units), parameters + 2 * len(self.echoes)), complex)
        for k, (n, q) in enumerate(self.echoes):
            first, gain = q * self.size, gains[k]
            mixing[TERMS * k + 1, first] = gain
            mixing[TERMS * k + 2, first + self.departs(n)] += gain
            if self.delays:
                mixing[TERMS * k + 3, first + self.delay(n)] = gain
            for order in range(3):
                mixing[TERMS * k + 4 + order, first + self.doppler(n, order)] = gain
            mixing[TERMS * k + 7, first + self.turning(self.own)] = gain
            mixing[TERMS * k + 8, first + self.turning(n)] += gain
            mixing[:, parameters + 2 * k], mixing[:, parameters + 2 * k + 1] = units[:, k], 1j * units[:, k]
        return mixing

    def by_chains(self, point: NDArray[np.float64], gains: NDArray[np.complex128]) -> tuple[Terms, NDArray[np.complex128]]:
        """Terms, and (term, error) how the echoes change with the errors of chains."""
        ears, mouths = self.chains.places()
        arrival, departure, slow, entries = [], [], [], []
        whole = self.terms(point)
        for k, (n, q) in enumerate(self.echoes):
            row = point[q]
            a, g, e = whole.arrival[TERMS * k], whole.departure[TERMS * k], whole.slow[TERMS * k]
            each = self._elements(n, q, row[self.departs(n)], self._late(row, n))[0] * self.chains.sent[n][:, None]
            parts = [(np.where(np.arange(a.size) == r, a, 0.0), g, ears.start + 2 * (r - 1)) for r in range(1, a.size) if ears.stop > ears.start]
            at = mouths[n]
            parts += [(a, each[:, i], at.start + 2 * (i - 1)) for i in range(1, each.shape[1]) if at.stop > at.start]
            for one, sent, where in parts:
                entries.append((where, gains[k]))
                arrival.append(one)
                departure.append(sent)
                slow.append(e)
        mixing = np.zeros((len(entries), len(self.held)), complex)
        for row, (where, gain) in enumerate(entries):
            mixing[row, where], mixing[row, where + 1] = gain, 1j * gain
        return Terms(np.array(arrival), np.array(departure), np.array(slow)), mixing

    # -- likelihood ----------------------------------------------------------------------------------------------------------------------

    def precision(self) -> NDArray[np.float64]:
        """(target, parameter) of the prior; the first target's azimuth is what is asked for and has none."""
        precision = self.width**-2.0
        precision[0, 0] = 0.0
        return precision

    def fit(self, point: NDArray[np.float64], errors: NDArray[np.float64] | None = None) -> tuple[float, NDArray[np.complex128], float]:
        """(minus log posterior, gains (echo,), log-likelihood gained over no echo) with the best gains."""
        mixing = np.repeat(self.units(point).astype(complex), 2, axis=1) * np.tile([1.0, 1j], len(self.echoes))
        gram, onto = self.cleared.products(self.terms(point, errors), mixing)
        weights = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(len(gram)), onto)
        found = float(weights @ onto) / self.cleared.variance
        cost = 0.5 * float(np.sum(self.precision() * (point - self.mean) ** 2))
        if errors is not None:
            cost += 0.5 * float(errors @ self.held @ errors)
        return cost - found, weights[::2] + 1j * weights[1::2], found

    def normal(
        self, point: NDArray[np.float64], gains: NDArray[np.complex128], errors: NDArray[np.float64] | None = None
    ) -> tuple[NDArray, NDArray]:
        """Normal matrix and descent direction of minus log posterior over all columns: parameters, gains, and errors of chains if any are
        given."""
        terms, mixing = self.terms(point, errors), self.columns(point, gains)
        size = mixing.shape[1]
        if errors is not None and errors.size:
            more, by = self.by_chains(point, gains)
            terms = Terms(*(np.concatenate([getattr(part, name) for part in (terms, more)]) for name in ("arrival", "departure", "slow")))
            mixing = linalg.block_diag(mixing, by)
        gram, onto = self.cleared.products(terms, mixing)
        parameters = self.count * self.size
        held = np.zeros(mixing.shape[1])
        held[parameters:size] = gains.view(float)
        scale = 2.0 / self.cleared.variance
        normal, pull = scale * gram, scale * (onto - gram @ held)
        precision = self.precision().ravel()
        normal[np.arange(parameters), np.arange(parameters)] += precision
        pull[:parameters] -= precision * (point - self.mean).ravel()
        if errors is not None and errors.size:
            normal[size:, size:] += self.held
            pull[size:] -= self.held @ errors
        return normal, pull

    def refined(
        self, point: NDArray[np.float64], steps: int = 12, errors: NDArray[np.float64] | None = None
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Levenberg-Marquardt with the gains following: (minus log posterior, point, errors) of the lobe around `point`. errors: of the chains,
        from which they are fitted too; None: as they are known."""
        cost, gains, _ = self.fit(point, errors)
        most, damping = self.width.copy(), 1e-3
        most[:, : self.transmitters] = np.minimum(most[:, : self.transmitters], 0.15)  # rad, at once
        parameters, count = point.size, point.size + 2 * len(self.echoes)
        for _ in range(steps):
            normal, pull = self.normal(point, gains, errors)
            size = np.sqrt(np.maximum(np.diagonal(normal), 1e-300))
            scaled = normal / np.outer(size, size)
            for _ in range(6):
                step = np.linalg.solve(scaled + damping * np.eye(len(scaled)), pull / size) / size
                moved = point + np.clip(step[:parameters].reshape(point.shape), -most, most)
                tuned = None if errors is None else errors + np.clip(step[count:], -0.5, 0.5)
                fresh, its, _ = self.fit(moved, tuned)
                if fresh <= cost:
                    break
                damping *= 10.0
            else:
                break
            gained, cost, point, gains, errors = cost - fresh, fresh, moved, its, tuned
            damping = max(damping / 10.0, 1e-9)
            if gained < 1e-4:
                break
        return cost, point, self.known if errors is None else errors

    def covariance(self, normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of a normal matrix whose parameters have very different units."""
        size = np.sqrt(np.maximum(np.diagonal(normal), 1e-300))
        inverse = np.linalg.pinv(normal / np.outer(size, size), rcond=1e-13, hermitian=True)
        return inverse / np.outer(size, size)


def _orders(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Turns of the carrier by a Doppler, its rate and the rate of that."""
    return t, t**2 / 2.0, t**3 / 6.0
