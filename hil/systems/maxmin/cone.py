"""The second-order cone program behind robust precoders: given a level, the smallest scale theta of all power caps that reaches it.

    c0 (Re hbar^T w_u - r ||w_u||) + Re c^H S w_u >= sqrt(gamma) ||(sqrt(noise), S_v w_v, |gbar_v^T w_v| + rho_v ||w_v||, ...)||
    ||sqrt(tones) w_a,n|| <= theta sqrt(cap_a,n),    Re <y0, y> >= theta sqrt(floor), y the target amplitudes

(c0, c) and y0, of length one, are tangents to the reverse-convex parts: the signal's power over a block's tones, the target's power.
With (c0, c) = (1, 0) the variance of the signal over the tones is left out. w / theta meets caps and floor whatever the tangent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field, norm

NEGLIGIBLE = 1e-4  # tone-variation rows below this share of the mean channel's norm are left out of the program (never of the metric)


@dataclass(frozen=True, slots=True, eq=False)
class Tangent:
    """Where the reverse-convex terms are linearised: signal (user, block, 1 + row), target (transmitter, block) of length one."""

    signal: NDArray[np.complex128]
    target: NDArray[np.complex128] | None


class Program:
    """The cone program of one field, scaled so that noise is 1 and power caps are near 1; only its values change between solves."""

    def __init__(self, problem: Problem, field: Field, steering: NDArray[np.complex128] | None) -> None:
        self.problem, self.steering = problem, steering
        self.unit = np.sqrt(problem.element_power_w.mean() / problem.tones.sum())
        gain = self.unit / np.sqrt(field.noise)[:, None]
        size = norm(field.mean)
        rows = int(np.max(np.count_nonzero(norm(field.spread) > NEGLIGIBLE * size[..., None], axis=-1)))
        # a ball that holds a channel of zero allows no positive level: design for the largest that does
        mine = 1.0 - field.interferes
        radius = np.where(mine > 0.0, np.minimum(field.radius, 0.9 * size), field.radius)
        self.covers_zero = bool(np.any((mine > 0.0) & (field.radius >= size)))
        self.field = replace(
            field, mean=field.mean * gain[..., None], spread=field.spread[..., :rows, :] * gain[..., None, None], radius=radius * gain,
            noise=np.ones_like(field.noise),
        )  # fmt: skip
        a, u, b, n = field.mean.shape
        self.shape, self.rows = (a, u, b, n), rows
        self.size_at = 2 * a * b * n  # variables: Re w, Im w, then ||w||, |gbar^T w|, theta
        self.leak_at = self.size_at + a * b
        self.theta_at = self.leak_at + a * (u - 1) * b
        self.others = [[v for v in range(a) if v != field.serving[user]] for user in range(u)]

    def variable(self, a, b):
        """Indices of Re w[a, b, :], shape (..., antenna); the imaginary parts lie `size_at` / 2 further."""
        _, _, blocks, n = self.shape
        return ((np.asarray(a) * blocks + np.asarray(b)) * n)[..., None] + np.arange(n)

    def first_tangent(self) -> Tangent:
        """Before anything is known: the signal's mean alone, no target."""
        signal = np.zeros((*self.shape[1:3], 1 + self.rows), complex)
        signal[..., 0] = 1.0
        return Tangent(signal, None)

    def tangent(self, w: NDArray[np.complex128], floor: float) -> Tangent:
        """At scaled precoders w; floor in watts, 0 for none."""
        users, serving = range(self.shape[1]), list(self.field.serving)
        mean, spread = self.field.mean[serving, users], self.field.spread[serving, users]
        own = w[serving]
        middle = np.real((mean * own).sum(-1)) - self.field.radius[serving, users] * norm(own)
        signal = np.concatenate([np.maximum(middle, 0.0)[..., None], (spread * own[:, :, None]).sum(-1)], -1)
        length = norm(signal)[..., None]
        fresh = np.zeros_like(signal)
        fresh[..., 0] = 1.0
        return Tangent(np.where(middle[..., None] > 0.0, signal / length, fresh), self._target(w, floor) if floor > 0.0 else None)

    def _target(self, w: NDArray[np.complex128], floor: float) -> NDArray[np.complex128]:
        """Target amplitudes of w, length one; transmitters' shares moved to what their caps allow where the floor needs it."""
        amplitude = np.einsum("an,abn,b->ab", self.steering, w, np.sqrt(self.problem.tones))
        share = np.linalg.norm(amplitude, axis=-1, keepdims=True)
        shape = np.where(share > 0.0, amplitude, 1.0)
        shape = shape / np.linalg.norm(shape, axis=-1, keepdims=True)
        most = np.sqrt(self.problem.element_power_w).sum(-1, keepdims=True) / np.sqrt(floor)
        share, even = share / max(np.linalg.norm(share), 1e-300), most / np.linalg.norm(most)
        needed = 1.0 + min(0.05, 0.5 * (float(np.linalg.norm(most)) - 1.0))
        for mix in np.linspace(0.0, 1.0, 21):
            blend = (1.0 - mix) * share + mix * even
            blend = blend / np.linalg.norm(blend)
            if float((blend * most).sum()) >= needed:
                break
        return blend * shape

    def matrices(self, level: float, tangent: Tangent, floor: float):
        """(A, b, cones) of A x + s = b, s in cones, and the row offsets of antenna, leak and floor rows."""
        transmitters, users, blocks, n = self.shape
        f, half = self.field, self.size_at // 2
        row, col, val, right, cones = [], [], [], [], []
        place = {}
        at = 0

        def add(rows, cols, values):
            rows, cols, values = np.broadcast_arrays(rows, cols, values)
            row.append(rows.ravel()), col.append(cols.ravel()), val.append(values.ravel())

        def add_re_im(rows, vector, variables, factor=1.0):
            """s[rows] += factor Re(vector w), s[rows + 1] += factor Im(vector w)."""
            rows = np.asarray(rows)[..., None]
            add(rows, variables, -factor * vector.real), add(rows, variables + half, factor * vector.imag)
            add(rows + 1, variables, -factor * vector.imag), add(rows + 1, variables + half, -factor * vector.real)

        block = np.arange(blocks)
        root = np.sqrt(level)
        for u in range(users):  # one cone per (user, block): gain on top, then noise and what each interferer adds
            a, height = f.serving[u], 2 + len(self.others[u]) * (2 * self.rows + 1)
            top = at + block * height
            c = tangent.signal[u]
            direction = c[:, :1] * f.mean[a, u] + np.einsum("br,brn->bn", c[:, 1:].conj(), f.spread[a, u])
            x = self.variable(np.full(blocks, a), block)
            add(top[:, None], x, -direction.real / root), add(top[:, None], x + half, direction.imag / root)
            add(top, self.size_at + a * blocks + block, c[:, 0].real * f.radius[a, u] / root)
            right.append(np.tile(np.eye(height)[1], blocks))
            for j, v in enumerate(self.others[u]):
                first = top + 2 + j * (2 * self.rows + 1)
                x = self.variable(np.full(blocks, v), block)
                add(first, self.leak_at + (u * (users - 1) + j) * blocks + block, -1.0)
                add(first, self.size_at + v * blocks + block, -f.radius[v, u])
                for r in range(self.rows):
                    add_re_im(first + 1 + 2 * r, f.spread[v, u, :, r], x)
            cones += [clarabel.SecondOrderConeT(height)] * blocks
            at += height * blocks
        # ||w||
        index = np.arange(transmitters * blocks)
        top = at + index * (2 * n + 1)
        add(top, self.size_at + index, -1.0)
        x = self.variable(*np.divmod(index, blocks))
        add(top[:, None] + 1 + np.arange(n), x, -1.0), add(top[:, None] + 1 + n + np.arange(n), x + half, -1.0)
        right.append(np.zeros(index.size * (2 * n + 1)))
        cones += [clarabel.SecondOrderConeT(2 * n + 1)] * index.size
        at += index.size * (2 * n + 1)
        place["leak"] = at  # |gbar^T w|
        for u in range(users):
            for j, v in enumerate(self.others[u]):
                top = at + block * 3
                add(top, self.leak_at + (u * (users - 1) + j) * blocks + block, -1.0)
                add_re_im(top + 1, f.mean[v, u], self.variable(np.full(blocks, v), block))
                right.append(np.zeros(3 * blocks))
                cones += [clarabel.SecondOrderConeT(3)] * blocks
                at += 3 * blocks
        place["antenna"] = at
        height = 2 * blocks + 1
        share = np.sqrt(self.problem.tones / self.problem.element_power_w[..., None]) * self.unit  # (transmitter, antenna, block)
        for a in range(transmitters):
            for m in range(n):
                add(at, self.theta_at, -1.0)
                x = self.variable(np.full(blocks, a), block)[:, m]
                add(at + 1 + block, x, -share[a, m]), add(at + 1 + blocks + block, x + half, -share[a, m])
                right.append(np.zeros(height))
                cones.append(clarabel.SecondOrderConeT(height))
                at += height
        place["floor"] = at
        if floor > 0.0:
            weight = tangent.target.conj()[..., None] * self.steering[:, None] * np.sqrt(self.problem.tones)[:, None]
            weight = weight * self.unit / np.sqrt(floor)
            x = self.variable(*np.divmod(index, blocks))
            flat = weight.reshape(-1, n)
            add(at, x, -flat.real), add(at, x + half, flat.imag), add(at, self.theta_at, 1.0)
            right.append(np.zeros(1))
            cones.append(clarabel.NonnegativeConeT(1))
            at += 1
        a_matrix = sparse.csc_matrix((np.concatenate(val), (np.concatenate(row), np.concatenate(col))), (at, self.theta_at + 1))
        return a_matrix, np.concatenate(right), cones, place

    def solve(self, level: float, tangent: Tangent, floor: float = 0.0):
        """(w scaled, theta, dual z, row places) at this level, or None when no power suffices."""
        a_matrix, b, cones, place = self.matrices(level, tangent, floor)
        q = np.zeros(self.theta_at + 1)
        q[-1] = 1.0
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_threads = 1
        solver = clarabel.DefaultSolver(sparse.csc_matrix((q.size, q.size)), q, a_matrix, b, cones, settings)
        result = solver.solve()
        if result.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
            return None
        x = np.array(result.x)
        transmitters, _, blocks, n = self.shape
        half = self.size_at // 2
        w = (x[:half] + 1j * x[half : 2 * half]).reshape(transmitters, blocks, n)
        return w, float(x[-1]), np.array(result.z), place

    def duals(self, w, theta, z, place, floor: float) -> tuple[NDArray[np.float64], float, NDArray[np.complex128]]:
        """(prices, floor price, lean) in watts, from the dual z of an optimum."""
        transmitters, users, blocks, n = self.shape
        height = 2 * blocks + 1
        antenna = z[place["antenna"] : place["antenna"] + transmitters * n * height : height].reshape(transmitters, n)
        prices = np.maximum(antenna, 0.0) / (self.problem.element_power_w * theta)
        leak = z[place["leak"] : place["antenna"]].reshape(users, max(users - 1, 0), blocks, 3)
        lean = np.zeros((transmitters, users, blocks), complex)
        for u in range(users):
            for j, v in enumerate(self.others[u]):
                top = np.maximum(leak[u, j, :, 0], 1e-300)
                pull = -(leak[u, j, :, 1] + 1j * leak[u, j, :, 2]) / top
                lean[v, u] = pull / np.maximum(1.0, abs(pull))
        reward = 0.0
        if floor > 0.0:
            amplitude = np.einsum("an,abn,b->ab", self.steering, w, np.sqrt(self.problem.tones)) * self.unit
            reward = max(float(z[-1]), 0.0) / (np.sqrt(floor) * np.linalg.norm(amplitude))
        return prices, reward, lean
