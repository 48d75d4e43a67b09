"""One lobe of a target's fix, refined: Gauss-Newton on everything an echo hangs on, and the covariance of where it is.

Place, velocity and acceleration of the target; with a prior each, what is known only so well: the delays of the direct paths, to which
echoes are referred, and the gains of the chains that hear and send, which a target's direction is read from. At 45 dB a receive chain
known to a tenth of a radian moves the target by more than the noise does; as a parameter it costs what it must and the echoes, of several
transmitters in the same chains, mend it. Complex gains of the echoes are projected out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from hil.estimate.chains import ChainGains
from hil.estimate.echomodel import MOTION, Pair

NEAR = 0.01  # of log-likelihood still to be gained: a seventh of a standard deviation
LEAST = 1e-4  # of a chain's gain: known to 80 dB is exact
FASTEST = 60.0  # Hz, above any walker's Doppler and within which his echo is looked for


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Parameters at one stage of the refinement, and what they leave."""

    parameters: NDArray[np.float64]  # as `EchoFit` lists them
    height: float
    gains: NDArray[np.complex128]  # (pair,)
    cost: float  # minus log posterior
    found: float  # log-likelihood gained over "no target"

    @property
    def place(self) -> NDArray[np.float64]:
        return np.append(self.parameters[:2], self.height)

    @property
    def velocity(self) -> NDArray[np.float64]:
        return np.append(self.parameters[2:4], 0.0)

    @property
    def acceleration(self) -> NDArray[np.float64]:
        return np.append(self.parameters[4:6], 0.0)


class EchoFit:
    """Posterior of a target's motion given the echoes of some pairs.

    Parameters: x, y, vx, vy, ax, ay; delay of each pair's direct path; Re and Im of the relative error of receive chains 1, 2, ..., the
    same for all pairs; of each pair's transmit chains 1, 2, .... Chains whose error is None are as the model has them.
    heard_error: (2 (rx - 1), 2 (rx - 1)) covariance. speed_std m/s and turn_std m/s^2: priors of each component.
    """

    def __init__(self, pairs: Sequence[Pair], heard_error: NDArray[np.float64] | None, speed_std: float, turn_std: float) -> None:
        self.pairs, self._heard = tuple(pairs), heard_error is not None
        motion = np.diag([0.0, 0.0, speed_std**-2.0, speed_std**-2.0, turn_std**-2.0, turn_std**-2.0])
        delays = np.diag([pair.echoes.reference_std**-2.0 for pair in self.pairs])
        parts = [motion, delays, _precision(heard_error), *(_precision(pair.echoes.sent_error) for pair in self.pairs)]
        self.precision = linalg.block_diag(*parts)
        ends = np.cumsum([len(part) for part in parts])
        self.count = int(ends[-1])
        self._ears = np.arange(ends[1], ends[2])
        self._mouths = [np.arange(begin, end) for begin, end in pairwise(ends[2:])]
        self._most = np.full(self.count, 0.5)  # metres, and parts of a gain, at once
        self._most[2:MOTION] = 1.0  # m/s, m/s^2
        self._most[MOTION : ends[1]] = np.inf

    def start(self, place: NDArray, velocity: NDArray) -> Point:
        """A walker on a straight line, everything else as it is known."""
        return self.at(np.concatenate([place[:2], velocity[:2], np.zeros(self.count - 4)]), float(place[2]))

    def at(self, parameters: NDArray[np.float64], height: float) -> Point:
        """Best gains and the cost of these parameters."""
        point = Point(parameters, height, np.zeros(len(self.pairs), complex), 0.0, 0.0)
        gains, found = point.gains.copy(), 0.0
        for number, pair in enumerate(self.pairs):
            unit = self.echo(point, number)
            gram, seen = pair.products(np.stack([unit, 1j * unit]))
            weights = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(2), seen)
            gains[number] = weights[0] + 1j * weights[1]
            found += float(weights @ seen) / pair.variance
        return replace(point, gains=gains, found=found, cost=0.5 * float(parameters @ self.precision @ parameters) - found)

    def echo(self, point: Point, number: int, rise: float = 0.0) -> NDArray[np.complex128]:
        """(cell, rx, group) whitened unit-gain echo of one pair, the target so many metres higher."""
        place = point.place + [0.0, 0.0, rise]
        return self._tuned(point, number).field(place, point.velocity, float(point.parameters[MOTION + number]), point.acceleration)

    def _tuned(self, point: Point, number: int) -> Pair:
        """A pair with the chains of these parameters."""
        pair = self.pairs[number]
        changed = {}
        for name, at in (("heard", self._ears), ("sent", self._mouths[number])):
            if at.size:
                changed[name] = 1.0 + np.append(0.0, point.parameters[at].view(complex))
        return replace(pair, **changed) if changed else pair

    def _slopes(self, point: Point, number: int) -> tuple[NDArray[np.complex128], NDArray[np.intp]]:
        """Derivatives (column, cell, rx, group) of one pair's echo, and which parameters they are; gains follow the others."""
        delay = float(point.parameters[MOTION + number])
        each = self._tuned(point, number).slopes(
            point.place, point.velocity, delay, point.acceleration, complex(point.gains[number]),
            of_heard=self._heard, of_sent=bool(self._mouths[number].size),
        )  # fmt: skip
        gain = self.count + 2 * number
        return each, np.concatenate([np.arange(MOTION), [MOTION + number], self._ears, self._mouths[number], [gain, gain + 1]])

    def normal(self, point: Point) -> tuple[NDArray, NDArray]:
        """Normal matrix and slope of minus log posterior, by the parameters and then Re g and Im g of each pair."""
        size = self.count + 2 * len(self.pairs)
        normal, slope = np.zeros((size, size)), np.zeros(size)
        for number, pair in enumerate(self.pairs):
            gain = complex(point.gains[number])
            each, where = self._slopes(point, number)
            among, onto = pair.products(each)
            normal[np.ix_(where, where)] += 2.0 / pair.variance * among
            slope[where] += 2.0 / pair.variance * (onto - gain.real * among[-2] - gain.imag * among[-1])
        normal[: self.count, : self.count] += self.precision
        slope[: self.count] -= self.precision @ point.parameters
        return normal, slope

    def refined(self, point: Point, steps: int) -> Point:
        """Levenberg-Marquardt from one point, gains projected out: they turn with every millimetre, and damped they would stop the rest."""
        count = self.count
        damping = 1e-3
        for _ in range(steps):
            normal, slope = self.normal(point)
            inner = np.linalg.pinv(normal[count:, count:], hermitian=True)
            reduced = normal[:count, :count] - normal[:count, count:] @ inner @ normal[count:, :count]
            uphill = slope[:count] - normal[:count, count:] @ (inner @ slope[count:])
            scale = 1.0 / np.sqrt(np.maximum(np.diag(reduced), 1e-300))
            shape, pull = reduced * np.outer(scale, scale), scale * uphill
            if 0.5 * pull @ np.linalg.lstsq(shape, pull, rcond=1e-10)[0] < NEAR:
                break
            for _ in range(6):
                step = scale * linalg.solve(shape + damping * np.eye(count), pull, assume_a="pos", check_finite=False)
                step /= max(np.max(np.abs(step) / self._most), 1.0)
                trial = self.at(point.parameters + step, point.height)
                if trial.cost < point.cost:
                    point, damping = trial, max(damping / 30.0, 1e-9)
                    break
                damping *= 10.0
            else:
                break
        return point

    def energies(self, point: Point) -> tuple[NDArray, NDArray]:
        """Integrated SNR per pair before and after the static part is removed."""
        echoes = [gain * self.echo(point, number) for number, gain in enumerate(point.gains)]
        before = [np.sum(np.abs(echo) ** 2) / pair.variance for pair, echo in zip(self.pairs, echoes)]
        after = [np.sum(np.abs(pair.cleaned(echo)) ** 2) / pair.variance for pair, echo in zip(self.pairs, echoes)]
        return np.array(before), np.array(after)

    def bound(self, point: Point, height_std: float) -> tuple[NDArray, NDArray]:
        """(3, 3) covariance of the position, everything else projected out, and the standard deviations of all parameters.

        The height is not estimated: its own error, which moves the rest by the normal matrix' answer to it, is added.
        """
        normal, _ = self.normal(point)
        scale = 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
        inverse = np.linalg.pinv(normal * np.outer(scale, scale), hermitian=True, rcond=1e-14) * np.outer(scale, scale)
        pull, step = np.zeros(normal.shape[0]), 1e-4
        for number, pair in enumerate(self.pairs):
            rise = point.gains[number] * (self.echo(point, number, step) - self.echo(point, number, -step)) / (2.0 * step)
            each, where = self._slopes(point, number)
            pull[where] += 2.0 / pair.variance * pair.products(np.concatenate([each, rise[None]]))[0][-1, :-1]
        by_height = np.append((-inverse @ pull)[:2], 1.0)
        covariance = height_std**2 * np.outer(by_height, by_height)
        covariance[:2, :2] += inverse[:2, :2]
        return covariance, np.sqrt(np.diag(inverse))

    def residual(self, point: Point) -> tuple[float, bool]:
        """Energy left at walking Doppler over the noise measured at Dopplers above, and whether it exceeds 99.9 %."""
        energy = degrees = 0.0
        for number, pair in enumerate(self.pairs):
            rest = pair.data - pair.cleaned(point.gains[number] * self.echo(point, number))
            cells = rest.shape[0]
            spectrum = np.fft.fft(rest, axis=0) / np.sqrt(cells)
            doppler = np.abs(np.fft.fftfreq(cells, float(np.mean(np.diff(pair.echoes.times)))))
            low = (doppler > 0.0) & (doppler < FASTEST)
            energy += float(np.sum(np.abs(spectrum[low]) ** 2)) / pair.variance
            degrees += float(low.sum() * rest.shape[1] * rest.shape[2])
        ratio = energy / max(degrees, 1.0)
        return ratio, bool(special.gammainc(degrees, energy) > 0.999)


def relative_error(chains: ChainGains, turn_std: float = 0.0) -> NDArray[np.float64]:
    """Covariance of what is left of chains 1, 2, ... against the first, Re and Im interleaved, once signals were divided by their gains.

    turn_std: radians by which each element's place, known only so well, turns what it sends or hears on its own. Of chains below their
    threshold everything is left.
    """
    if not chains.above_threshold:
        return np.eye(2 * (len(chains.value) - 1))
    back = linalg.block_diag(*([[one.real, -one.imag], [one.imag, one.real]] for one in 1.0 / chains.value[1:]))
    covariance = back @ chains.covariance @ back.T
    turned = np.arange(1, len(covariance), 2)
    covariance[np.ix_(turned, turned)] += turn_std**2 * (np.eye(turned.size) + 1.0)
    return covariance


def _precision(covariance: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if covariance is None:
        return np.zeros((0, 0))
    return np.linalg.inv(covariance + LEAST**2 * np.eye(len(covariance)))
