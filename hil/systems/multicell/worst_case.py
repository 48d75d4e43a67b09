"""The exact worst case of a block-level design: every user's smallest SINR over its channels' error balls.

A user's SINR over channels g + e (g the conjugate channel, a column) is N(e) / D(e) with N - gamma D = (g + e)^H A (g + e) - gamma floor,
A = w_u w_u^H - gamma sum of the other streams' w w^H: its minimum over a ball is a trust-region problem, solved by its dual, and the
largest gamma that keeps it non-negative by Newton's method (Dinkelbach). What neighbours send into coordinated beamforming comes over
links of their own, so their maxima are apart and part of the floor.

Over a product of balls (multipoint, `csi_set` "links") the dual has one multiplier per ball. It is exact for one and two base stations:
the complex relaxation then has at most three constraints, hence a rank-one solution (Huang and Zhang, 2007; Pataki). For three and more it
is a lower bound, so what is promised holds there too. Every value returned is that of a feasible dual point: never above the truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.systems.multicell.problem import Mode, Problem

OUTER, INNER = 60, 40  # steps of Newton's method on gamma, and on the multipliers; usually 4 and 3
LEAST = 1e-9  # share of a ball's multiplier in their sum
CLOSE = 1e-13  # relative step of gamma that ends the search
ROUNDING = 1e-12  # of the terms that cancel in a dual value, taken off it


def least(matrix: NDArray[np.complex128], centre: NDArray[np.complex128], radius: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """min of (g + e)^H A (g + e) over norm(e) <= radius, (...,). matrix: A (..., n, n) Hermitian; centre: g (..., n); radius (...,)."""
    a, v = np.linalg.eigh(matrix)
    b = (np.swapaxes(v.conj(), -1, -2) @ centre[..., None])[..., 0]
    d = np.asarray(radius, float)[..., None]
    lam = _multiplier(a * d**2, a * b * d, 1.0)
    return np.sum(a * np.abs(b) ** 2, -1) - lam - _quotients(a * d**2, np.abs(a * b * d) ** 2, lam)


def most(matrix: NDArray[np.complex128], centre: NDArray[np.complex128], radius: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """max of (g + e)^H A (g + e) over norm(e) <= radius; arguments as for `least`."""
    return -least(-matrix, centre, radius)


def sinr(problem: Problem, mode: Mode, w: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(user,) smallest SINR, linear, over the problem's sets, of W (base station, antenna, stream)."""
    j, n = problem.stations, problem.antennas
    if mode == "comp":
        if problem.csi_set == "stacked":
            blocks, channel, radius = w.reshape(1, j * n, -1), problem.stacked[:, None], problem.stacked_radius[:, None]
        else:
            blocks, channel, radius = w, np.moveaxis(problem.channel, 0, 1), problem.radius.T
        return _smallest(blocks, channel, radius, np.arange(problem.users), problem.noise)
    own = np.arange(j)[:, None] == problem.cells
    if np.any(w[~own[:, None].repeat(n, 1)] != 0.0):
        raise InputError("precoder", "coordinated beamforming sends a stream from its own cell only", fix='judge it with mode "comp"')
    small, seen = _reduced(w, np.moveaxis(problem.channel, 0, 1))
    heard = most(small @ np.swapaxes(small.conj(), -1, -2), seen.conj(), problem.radius.T)  # (user, base station), over their own links
    floor = problem.noise + np.where(own.T, 0.0, heard).sum(-1)
    worst = np.zeros(problem.users)
    for m in range(j):
        mine = np.flatnonzero(own[m])
        if mine.size:
            channel, radius = problem.channel[m, mine, None], problem.radius[m, mine, None]
            worst[mine] = _smallest(w[m, :, mine].T[None], channel, radius, np.arange(mine.size), floor[mine])
    return worst


def _reduced(w: NDArray[np.complex128], channel: NDArray[np.complex128]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """W (block, antenna, stream) and channels (user, block, antenna) in a basis of each block's columns: errors beside them do nothing."""
    if w.shape[-1] >= w.shape[-2]:
        return w, channel
    basis, small = np.linalg.qr(w)
    return small, (channel[..., None, :] @ basis)[..., 0, :]


def _smallest(w: NDArray[np.complex128], channel: NDArray[np.complex128], radius: NDArray[np.float64], own: NDArray[np.int64],
              floor: NDArray[np.float64]) -> NDArray[np.float64]:  # fmt: skip
    """(user,). w: (block, antenna, stream), channel: (user, block, antenna), a ball a block of radius (user, block); own: (user,) stream."""
    w, channel = _reduced(w, channel)
    users, (blocks, antennas, _) = len(own), w.shape
    nominal = np.einsum("ubn,bns->us", channel, w)
    unit = (radius[..., None, None] * w).reshape(users, blocks * antennas, -1)  # what an error on the unit balls adds: unit^H f
    power = np.abs(nominal) ** 2
    mine = np.arange(users), own
    gamma = power[mine] / (power.sum(-1) - power[mine] + floor)
    share, lower = None, np.zeros(users)
    for _ in range(OUTER):
        sign = np.repeat(-gamma[:, None], w.shape[-1], 1)
        sign[mine] = 1.0
        value, share, f = _dual(unit, sign, nominal.conj(), blocks, share)
        gap = value - gamma * floor  # of the smallest N - gamma D; D >= floor turns it into a bound on gamma
        unsure = ROUNDING * np.sum(np.abs(sign) * np.abs(nominal) ** 2, -1)
        lower = np.maximum(lower, gamma + np.minimum(gap - unsure, 0.0) / floor)
        amplitude = nominal + (f.conj()[..., None, :] @ unit)[..., 0, :]
        power = np.abs(amplitude) ** 2
        rest = np.maximum(power.sum(-1) - power[mine] + floor, floor)
        if np.all(gap >= -CLOSE * np.maximum(gamma * floor, 1e-300)):
            break
        fresh = np.clip(gamma + np.minimum(gap, 0.0) / rest, lower, gamma)
        if np.all(gamma - fresh <= CLOSE * gamma):
            break
        gamma = fresh
    return lower


def _dual(unit, sign, z, blocks, share):
    """max over multipliers of min over f of (z + unit^H f)^H diag(sign) (z + unit^H f) + sum_b lam_b (|f_b|^2 - 1), f in `blocks` blocks.

    unit: (user, coordinate, stream), sign, z: (user, stream), share: (user, block) of the multipliers to start from, or None.
    -> (value, shares, f). Newton's method on the concave dual; of its steps only the ratio counts, the size is worked out exactly.
    """
    a = (unit * sign[:, None]) @ np.swapaxes(unit.conj(), -1, -2)
    c = (unit @ (sign * z)[..., None])[..., 0]
    constant = np.sum(sign * np.abs(z) ** 2, -1)
    member = np.arange(blocks)[:, None] == np.repeat(np.arange(blocks), c.shape[-1] // blocks)  # (block, coordinate)
    here = _ellipsoid(a, c, constant, np.full((len(c), blocks), 1.0 / blocks) if share is None else share, member)
    if blocks == 1:
        return here[:3]
    tiny = 1e-11 * np.maximum(np.abs(constant), 1e-300)  # of a value: nothing to gain
    for _ in range(INNER):
        value, share, f, lam, inverse = here
        slope = np.abs(f) ** 2 @ member.T - 1.0
        free = (share > 1.5 * LEAST) | (slope > 0.0)
        slope = np.where(free, slope, 0.0)
        parts = f[:, None] * member  # (user, block, coordinate)
        bend = 2 * (parts.conj() @ inverse @ np.swapaxes(parts, -1, -2)).real * (free[:, None] & free[:, :, None])
        ridge = ~free + (1e-13 * np.trace(bend, axis1=1, axis2=2) + 1e-300)[:, None]
        step = np.linalg.solve(bend + ridge[:, None] * np.eye(blocks), slope[..., None])[..., 0]
        length = np.where(np.sum(step * slope, -1) > tiny, 1.0, 0.0)
        if not np.any(length):
            break
        for _ in range(INNER):
            trial = np.maximum(lam + length[:, None] * step, 0.1 * lam)
            there = _ellipsoid(a, c, constant, trial / np.maximum(trial.sum(-1, keepdims=True), 1e-300), member)
            worse = (length > 0.0) & (there[0] < value - 0.1 * tiny)
            if not np.any(worse):
                break
            length = np.where(worse, 0.25 * length, length)
        moved = (length > 0.0) & (there[0] > value)
        if not np.any(moved):
            break
        here = tuple(np.where(moved.reshape(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(there, here))
    return here[:3]


def _ellipsoid(a, c, constant, share, member):
    """(value, shares, f, multipliers, inverse) of the exact minimum over sum_b share_b |f_b|^2 <= 1, which holds every product of unit balls
    since shares add up to one: multipliers in the ratio of the shares."""
    share = np.maximum(share, LEAST)
    share = share / share.sum(-1, keepdims=True)
    root = 1.0 / np.sqrt(share @ member)
    size, v = np.linalg.eigh(root[:, :, None] * a * root[:, None])
    v = root[..., None] * v
    turned = (np.swapaxes(v.conj(), -1, -2) @ c[..., None])[..., 0]
    lam = _multiplier(size, turned, 1.0)
    total = size + lam[:, None]
    part = np.where(total > 0.0, 1.0 / np.where(total > 0.0, total, 1.0), 0.0)
    inverse = (v * part[:, None]) @ np.swapaxes(v.conj(), -1, -2)
    value = constant - lam - _quotients(size, np.abs(turned) ** 2, lam)
    return value, share, -(v @ (part * turned)[..., None])[..., 0], lam[:, None] * share, inverse


def _multiplier(a, c, balls):
    """lam >= max(0, -min a) with sum |c|^2 / (a + lam)^2 = balls, (...,), or that bound where the sum stays below (the hard case, or none)."""
    base = np.maximum(0.0, -a[..., 0])
    rise = a + base[..., None]
    c = np.abs(c)
    lam = np.maximum(np.max(c / np.sqrt(balls) - rise, axis=-1), 0.0)  # from the left, where Newton's method on 1 / norm stays
    for _ in range(INNER):
        total = rise + lam[..., None]
        ratio = np.where(c > 0.0, c / np.where(total > 0.0, total, 1e-300), 0.0)
        square = np.sum(ratio**2, -1)
        cube = np.sum(ratio**2 / np.where(total > 0.0, total, 1.0), -1)
        short = square > balls * (1 + 1e-14)
        step = np.where(short, (np.sqrt(square / balls) - 1.0) * square / np.where(cube > 0.0, cube, 1.0), 0.0)
        if not np.any(step > 1e-16 * (base + lam)):
            break
        lam = lam + step
    return base + lam


def _quotients(a, c2, lam):
    """sum |c|^2 / (a + lam), terms 0 / 0 left out."""
    total = a + lam[..., None]
    return np.sum(np.where(c2 > 0.0, c2 / np.where(total > 0.0, total, 1e-300), 0.0), -1)
