"""The model of the path fit and its slopes, entry by entry, compiled: what every step of the fit is made of.

One path at one row is g loud exp(-j k rho) (a0 + s a1 + s^2/2 a2 + s^3/6 a3), the series of hil.estimate.sources.respond, with a0, a1, ...
its atoms and s the delay beside its own.
"""

from __future__ import annotations

import numba
import numpy as np

from hil.units import SPEED_OF_LIGHT

__all__ = ["atoms_near", "slopes", "value"]

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _bend(p, cosine, curvature):
    """rho and its slopes along p, cosine and curvature, as hil.estimate.sources.excess."""
    bent = curvature * p
    root = np.sqrt(max(1.0 - 2.0 * bent * cosine + bent * bent, 1e-12))
    top = p * (bent - 2.0 * cosine)
    by_bend = p * p / (1.0 + root) - top * p * (bent - cosine) / (root * (1.0 + root) ** 2)
    return top / (1.0 + root), (bent - cosine) / root, -p / root, by_bend


@_compiled
def atoms_near(table, first, step, delays, orders):
    """(order, path, dimension) from `table` (delay, order, dimension) of the derivatives at first, first + step, ...: a Taylor series."""
    terms = table.shape[1] - orders + 1
    atoms = np.zeros((orders, delays.size, table.shape[2]), np.complex128)
    for path in range(delays.size):
        near = min(max(int(np.rint((delays[path] - first) / step)), 0), table.shape[0] - 1)
        away = delays[path] - (first + near * step)
        factor = 1.0
        for term in range(terms):
            for order in range(orders):
                for k in range(table.shape[2]):
                    atoms[order, path, k] += factor * table[near, order + term, k]
            factor *= away / (term + 1)
    return atoms


@_compiled
def value(gains, cosines, curvatures, tapers, atoms, positions, shifts, turn, wavelength):
    """(row, dimension) all paths together. atoms: (order >= 4, path, dimension); positions, shifts, turn: (row,)."""
    rows, dimension = positions.size, atoms.shape[2]
    out = np.zeros((rows, dimension), np.complex128)
    for row in range(rows):
        for path in range(gains.size):
            rho = _bend(positions[row], cosines[path], curvatures[path])[0]
            wave = turn[row] * gains[path] * (1.0 + positions[row] * tapers[path]) * np.exp(-2j * np.pi / wavelength * rho)
            s = shifts[row] + rho / SPEED_OF_LIGHT
            for k in range(dimension):
                series = atoms[0, path, k] + s * (atoms[1, path, k] + s / 2.0 * (atoms[2, path, k] + s / 3.0 * atoms[3, path, k]))
                out[row, k] += wave * series
    return out


@_compiled
def slopes(gains, cosines, curvatures, tapers, atoms, positions, shifts, turn, wavelength, out, late, along):
    """Value (row, dimension); fills out (path x 6, row, dimension) with the slopes of each path's cosine, curvature, delay, taper, Re g and
    Im g, and late, along (row, dimension) with those along every path's delay and along p. atoms: five orders."""
    rows, dimension = positions.size, atoms.shape[2]
    total = np.zeros((rows, dimension), np.complex128)
    turning = -2j * np.pi / wavelength
    late[:] = 0.0
    along[:] = 0.0
    for path in range(gains.size):
        first = 6 * path
        for row in range(rows):
            p = positions[row]
            rho, by_p, by_c, by_bend = _bend(p, cosines[path], curvatures[path])
            plain = turn[row] * np.exp(turning * rho)
            wave = (1.0 + p * tapers[path]) * plain
            gain = gains[path]
            s = shifts[row] + rho / SPEED_OF_LIGHT
            for k in range(dimension):
                a1, a2, a3 = atoms[1, path, k], atoms[2, path, k], atoms[3, path, k]
                series = atoms[0, path, k] + s * (a1 + s / 2.0 * (a2 + s / 3.0 * a3))
                unit = wave * series
                # the series is cut at third order, so its derivative in the delay beside is cut at second
                moved = gain * (turning * unit + wave * (a1 + s * (a2 + s / 2.0 * a3)) / SPEED_OF_LIGHT)
                by_delay = gain * wave * (a1 + s * (a2 + s / 2.0 * (a3 + s / 3.0 * atoms[4, path, k])))
                by_taper = gain * plain * series
                out[first, row, k] = moved * by_c
                out[first + 1, row, k] = moved * by_bend
                out[first + 2, row, k] = by_delay
                out[first + 3, row, k] = by_taper * p
                out[first + 4, row, k] = unit
                out[first + 5, row, k] = 1j * unit
                total[row, k] += gain * unit
                late[row, k] += by_delay
                along[row, k] += moved * by_p + by_taper * tapers[path]
    return total
