"""The coordinates of block-level cone programs: which base station sends which stream, in which directions, and what comes back of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import fisher
from hil.systems.multicell.problem import Mode, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Echo:
    """One base station's sensing in one view, in the coordinates of the program.

    u: (parameter, pair, coordinate), rows scaled; g: (pair, coordinate); pairs: (pair,) those of the program that matter. heard: (pair of
    other cells, coordinate) what target m returns of them, with their `others` (pair,). edge: kappa_d, first: scale of the angle.
    """

    u: NDArray[np.complex128]
    g: NDArray[np.complex128]
    pairs: NDArray[np.int64]
    heard: NDArray[np.complex128]
    others: NDArray[np.int64]
    edge: float
    first: float


class Space:
    """Which base station sends which stream (a pair), in which coordinates.

    Only span{conj(channel[n, :]), conj(v), conj(dv)} of a base station matters: what is sent beside it costs power and reach and does nothing. With
    limits on elements all antennas are kept.
    """

    def __init__(self, problem: Problem, mode: Mode) -> None:
        j, n, streams = problem.stations, problem.antennas, problem.users
        self.problem, self.mode = problem, mode
        self.stacked = mode == "comp" and problem.csi_set == "stacked"
        if mode == "comp":
            self.station, self.stream = (part.ravel() for part in np.meshgrid(np.arange(j), np.arange(streams), indexing="ij"))
        else:
            self.station, self.stream = problem.cells, np.arange(streams)
        self.rows = fisher.rows(problem, mode)
        u, g = self.rows.u.reshape(-1, j, n), self.rows.g.reshape(-1, j, n)
        heard = self.rows.reflection.reshape(-1, j, n)
        self.basis = np.broadcast_to(np.eye(n), (j, n, n))
        if problem.element_power is None:
            needed = [np.concatenate([problem.channel[m], u[:, m], g[:, m], heard[:, m]]) for m in range(j)]
            sizes = [np.linalg.svd(part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-300)) for part in needed]
            size = max(1, max(int(np.sum(s > 1e-10 * s[0])) for _, s, _ in sizes))
            if size < n:
                self.basis = np.stack([vh[:size].conj().T for _, _, vh in sizes])
        self.size = self.basis.shape[-1]
        self.half = len(self.station) * self.size
        self.channel = problem.channel @ self.basis  # (base station, user, coordinate)
        self.unit = np.maximum(np.linalg.norm(self.channel, axis=(0, 2)), 1e-100)  # (user,) of amplitudes in the programs: entries near 1

    def variable(self, pair) -> NDArray[np.int64]:
        """Numbers of the real parts of pairs (...,), shape (..., coordinate); the imaginary parts lie `half` further."""
        return np.asarray(pair)[..., None] * self.size + np.arange(self.size)

    def spread(self, x: NDArray[np.float64]) -> NDArray[np.complex128]:
        """W (base station, antenna, stream) of a solution."""
        part = (x[: self.half] + 1j * x[self.half : 2 * self.half]).reshape(-1, self.size)
        w = np.zeros((self.problem.stations, self.problem.antennas, self.problem.users), complex)
        w[self.station, :, self.stream] = (self.basis[self.station] @ part[..., None])[..., 0]
        return w

    def gathered(self, w: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(pair, coordinate) of W."""
        return (np.swapaxes(self.basis[self.station].conj(), 1, 2) @ w[self.station, :, self.stream][..., None])[..., 0]

    def radiable(self, w: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """W within all limits of power to the last digit."""
        excess = np.sqrt(self.problem.spent(w, "blp") / self.problem.power)
        if self.problem.element_power is not None:
            excess = np.maximum(excess, np.sqrt(np.sum(np.abs(w) ** 2, axis=2) / self.problem.element_power).max(1))
        return w / max(excess.max() * (1.0 + 1e-12), 1.0)  # and once units are put back

    def _seen(self, part: NDArray[np.complex128], pairs: NDArray[np.int64]) -> NDArray[np.complex128]:
        """(..., pair, coordinate) of rows (..., base station, antenna)."""
        return (part[..., self.station[pairs], None, :] @ self.basis[self.station[pairs]])[..., 0, :]

    def echoes(self) -> list[Echo]:
        """Of every view and base station that can learn its target's angle."""
        found, rows, j, n = [], self.rows, self.problem.stations, self.problem.antennas
        for view in range(rows.u.shape[0]):
            for m in range(j):
                u, g, heard = (part.reshape(-1, j, n) for part in (rows.u[view, m], rows.g[view, m], rows.reflection[view, m]))
                pairs = np.arange(len(self.station)) if self.mode == "comp" else np.flatnonzero(self.station == m)
                others = np.flatnonzero(np.any(heard.sum(0)[self.station] != 0.0, axis=1))
                scale = rows.scale[view, m]
                keep = np.flatnonzero(scale)
                if not len(pairs) or scale[0] == 0.0:  # nothing is sent, or nothing of it comes back: t is 0 whatever is done
                    continue
                scaled = scale[keep, None, None] * self._seen(u[keep], pairs)
                far = self._seen(heard.sum(0), others)
                found.append(Echo(scaled, self._seen(g[0], pairs), pairs, far, others, float(rows.edge[view, m]), float(scale[0])))
        return found
