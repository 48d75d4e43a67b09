"""Rays that belong together: transmit elements and receive antennas between which one path is a product of two sides.

A path by way of a point has delay(antenna, element) = tau + early(element) + late(antenna), and so has its gain as a product; a line of
sight has it for one antenna at a time. Within a bundle each side's own delay is a Taylor series about tau of first or second order,
whichever leaves less than -80 dB at the edge of the receiver's band; elements too far apart for that go one by one, exactly.
"""

from __future__ import annotations

import cmath
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_backend.kernels import COMPILE, TAPS

BAND = 0.4  # of the receiver's rate
ALIKE = 1e-4  # of a path's gain: how far it may be from a product
FIRST = math.sqrt(2e-4)  # rad at the edge of the band: x^2/2 is 1e-4
BENT = 1e-5  # of the power's root: what rays may bend by from station to station, where they are taken as straight
MOST_TAPS = 96  # of a filter; a table's overhang bears it
PHASOR = 40  # complex products: what a phasor with its phase noise costs
SECOND = 6e-4 ** (1 / 3)  # x^3/6 is 1e-4


@njit("void(f8[:,::1],c16[:,::1],i8,i8,i8,i8,f8[::1],c16[::1],f8[::1],c16[::1],f8[::1])", **COMPILE)
def _sides(delay, gain, e0, e1, a0, a1, common, leave, early, arrive, late):
    """One path (antenna, element) as common[0] + early(element) + late(antenna) and leave(element) x arrive(antenna)."""
    tau = 0.0
    total = 0.0j
    for a in range(a0, a1):
        for e in range(e0, e1):
            tau += delay[a, e]
            total += gain[a, e]
    tau /= (a1 - a0) * (e1 - e0)
    common[0] = tau
    for e in range(e0, e1):
        early[e] = -tau
        leave[e] = 0.0
        for a in range(a0, a1):
            early[e] += delay[a, e] / (a1 - a0)
            leave[e] += gain[a, e]
    for a in range(a0, a1):
        late[a] = -tau
        arrive[a] = 0.0
        for e in range(e0, e1):
            late[a] += delay[a, e] / (e1 - e0)
            arrive[a] += gain[a, e]
        arrive[a] = arrive[a] / total if total != 0.0 else 0.0j
    if a1 - a0 == 1:
        late[a0] = 0.0
        arrive[a0] = 1.0
    if e1 - e0 == 1:
        early[e0] = 0.0


@njit("i8(f8[:,::1],c16[:,::1],i8,i8,i8,i8,f8,f8,f8[::1],c16[::1],f8[::1],c16[::1],f8[::1])", **COMPILE)
def _order(delay, gain, e0, e1, a0, a1, carrier, rate, common, leave, early, arrive, late):
    """Order of the series with which a part of a path is a bundle; 3 if it is none."""
    _sides(delay, gain, e0, e1, a0, a1, common, leave, early, arrive, late)
    most = widest = wrong = wide = 0.0
    for e in range(e0, e1):
        wide = max(wide, abs(early[e]))
    for a in range(a0, a1):
        widest = max(widest, abs(late[a]) + wide)
        for e in range(e0, e1):
            rest = 2.0 * math.pi * carrier * (delay[a, e] - common[0] - early[e] - late[a])
            wrong = max(wrong, abs(gain[a, e] - leave[e] * arrive[a]) + abs(rest * gain[a, e]))
            most = max(most, abs(gain[a, e]))
    if wrong > ALIKE * most:
        return 3
    x = 2.0 * math.pi * BAND * rate * widest
    return 0 if 0.5 * x < ALIKE * ALIKE else 1 if x <= FIRST else 2 if x <= SECOND else 3


@njit("i8(f8[:,:,::1],c16[:,:,::1],f8,f8,i8[:,::1])", **COMPILE)
def plan(delay, gain, carrier, rate, out):
    """Sort rays (path, antenna, element) into as few bundles as accuracy allows; answers how many.

    carrier: Hz. rate: of the receiver. Writes out (bundle, 6): path, elements [begin, end), antennas [begin, end), order of the series.
    """
    paths, antennas, elements = delay.shape
    common = np.empty(1)
    early, late = np.empty(elements), np.empty(antennas)
    leave, arrive = np.empty(elements, np.complex128), np.empty(antennas, np.complex128)
    count = 0
    for p in range(paths):
        if not gain[p].any():
            continue
        order = _order(delay[p], gain[p], 0, elements, 0, antennas, carrier, rate, common, leave, early, arrive, late)
        if order < 3:
            out[count] = (p, 0, elements, 0, antennas, order)
            count += 1
            continue
        for a in range(antennas):
            order = _order(delay[p], gain[p], 0, elements, a, a + 1, carrier, rate, common, leave, early, arrive, late)
            if order < 3:
                out[count] = (p, 0, elements, a, a + 1, order)
                count += 1
                continue
            for e in range(elements):
                if gain[p, a, e] != 0.0:
                    out[count] = (p, e, e + 1, a, a + 1, 0)
                    count += 1
    return count


def filters_pay(delay: NDArray[np.float64], gain: NDArray[np.float64], bundles: NDArray[np.int64], carrier: float, rate: float) -> bool:
    """Whether one short filter for every pair costs less than bundles and is accurate: rays turn little from station to station.

    delay: (2, path, antenna, element) at a station and the next; gain: (path, antenna, element) moduli at the first. Costs are counted in
    complex products a sample, as `sweep` makes them.
    """
    _, paths, antennas, elements = delay.shape
    turned = 2.0 * math.pi * carrier * (delay[1] - delay[0])
    bent = 0.125 * (turned - turned.mean()) ** 2  # by the straight line's chord
    if ((gain * bent) ** 2).sum() > BENT**2 * (gain**2).sum():
        return False
    taps = float(np.ptp(delay[0])) * 2.0 * rate + TAPS + 6
    order = bundles[:, 5] + 1
    passes = 2 * order * (bundles[:, 2] - bundles[:, 1]) + order * (bundles[:, 4] - bundles[:, 3])
    filtered = PHASOR + antennas * elements * (taps + paths)
    return bool(taps < MOST_TAPS and filtered < (PHASOR + passes + 5 * order * (order + 1)).sum())


@njit("void(f8[:,:,:,::1],c16[:,:,:,::1],i8[:,::1],f8[:,::1],f8,f8,f8[:,::1],c16[:,:,::1],f8[:,:,::1],c16[:,:,::1],f8[:,:,::1])", **COMPILE)
def factor(delay, gain, bundles, relation, centre, grid, common, leave, early, arrive, late):
    """The sides of planned bundles of rays (block end, path, antenna, element).

    relation: of `kernels.relate`. centre: Hz on which the table stands. grid: table points a second. Writes common (block end, bundle)
    seconds; leave (block end, bundle, element) and arrive (block end, bundle, antenna): gains with the phase of each side's own delay;
    early and late, likewise: those delays in table points.
    """
    for b in range(delay.shape[0]):
        actual = 1.0 + relation[4, b]
        for q in range(bundles.shape[0]):
            p, e0, e1, a0, a1 = bundles[q, 0], bundles[q, 1], bundles[q, 2], bundles[q, 3], bundles[q, 4]
            _sides(delay[b, p], gain[b, p], e0, e1, a0, a1, common[b, q:], leave[b, q], early[b, q], arrive[b, q], late[b, q])
            for e in range(e0, e1):
                leave[b, q, e] *= cmath.exp(-2j * math.pi * (centre * actual * early[b, q, e]))
                early[b, q, e] *= actual * grid
            for a in range(a0, a1):
                arrive[b, q, a] *= cmath.exp(-2j * math.pi * (centre * actual * late[b, q, a]))
                late[b, q, a] *= actual * grid


@njit("void(f8[:,:,:,::1],c16[:,:,:,::1],f8[:,::1],f8,f8,f8[::1],f8[:,:,:,::1],c16[:,:,:,::1])", **COMPILE)
def unfold(delay, gain, relation, centre, grid, common, late, turned):
    """Rays (block end, path, antenna, element) about their mean delay, as `sweep.responses` reads them.

    Arguments as of `factor`. Writes common (block end,) seconds; late, table points behind it; turned: gains with the phase of that.
    """
    ends, paths, antennas, elements = delay.shape
    for b in range(ends):
        actual = 1.0 + relation[4, b]
        total = 0.0
        for p in range(paths):
            for a in range(antennas):
                for e in range(elements):
                    total += delay[b, p, a, e]
        common[b] = total / (paths * antennas * elements)
        for p in range(paths):
            for a in range(antennas):
                for e in range(elements):
                    behind = actual * (delay[b, p, a, e] - common[b])
                    late[b, p, a, e] = behind * grid
                    turned[b, p, a, e] = gain[b, p, a, e] * cmath.exp(-2j * math.pi * (centre * behind))
