"""What symbol-level designs sense: the cone program that raises the smallest t, one minorise-maximise step at a time.

R = X X^H / L >= (X0 X^H + X X0^H - X0 X0^H) / L for any X0, and t is monotone in R: with the right-hand side in its information matrix t
is a concave minorant, tight at X0. Information sees X only through responses dv^T x_nt and v^T x_nt, a few per base station and
symbol, which are variables of their own: however many views there are, they share them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import fisher
from hil.systems.multicell.problem import Mode, Problem
from hil.systems.multicell.slp_cone import Cone, Index, Positive, Rows, Second, Zero

APART = 1e-9  # singular values of scaled nuisance rows below this share of the largest are none
LEAST = 1e-6  # of z, in units of the angle's scale, where its tangent is taken


@dataclass(frozen=True, eq=False)
class Sight:
    """One base station's target in one view. Coefficients are of responses, those of signals X (base station x antenna, symbol) `weights` X.

    parameters: (parameter, response) of rows u_p^T X over the root of their isotropic information, the angle first; tilt: (response,) of
    g^T X; reflected: (from, response), the rows whose power counts as noise. re, im: (symbol, response) the responses' variables.
    unit: isotropic information of the angle; edge: kappa_d.
    """

    parameters: NDArray[np.complex128]
    tilt: NDArray[np.complex128]
    reflected: NDArray[np.complex128]
    weights: NDArray[np.complex128]
    re: Index
    im: Index
    unit: float
    edge: float


class SensingCone(Cone):
    """Users, power and what is sensed. Only for problems in which every base station hears something of its target."""

    def __init__(self, problem: Problem, mode: Mode) -> None:
        super().__init__(problem, mode)
        self.heard: dict[tuple[int, bytes], tuple[Index, Index]] = {}
        self.fisher = fisher.rows(problem, mode)
        self.sights = [self._sight(view, m) for view in range(len(problem.views)) for m in range(problem.stations)]
        self.unit = max(sight.unit for sight in self.sights)  # of t

    def _sight(self, view: int, m: int) -> Sight:
        p, of = self.problem, self.fisher
        rows = [of.u[view, m] * of.scale[view, m, :, None], of.g[view, m, None], of.reflection[view, m]]
        felt = np.concatenate(rows).reshape(-1, p.stations, p.antennas)
        kept, variables = [], []
        for n in np.flatnonzero(np.any(felt, axis=(0, 2))):
            v, dv = fisher.steering(p.transmit_place, p.views[view][0][n, m])
            if p.gains is not None:
                v, dv = v * p.gains[n], dv * p.gains[n]
            for response in _unit(dv, v) if np.any(felt[: len(rows[0]), n]) else _unit(v):
                kept.append(np.zeros((p.stations, p.antennas), complex))
                kept[-1][n] = response
                variables.append(self._response(int(n), response))
        weights = np.stack(kept).reshape(len(kept), -1)
        parameters, tilt, reflected = (_coefficients(weights, row) for row in rows)
        nuisance = _independent(parameters[1:] @ weights) @ parameters[1:]
        re, im = (np.stack(part, -1) for part in zip(*variables))
        return Sight(np.concatenate([parameters[:1], nuisance]), tilt[0], reflected[np.any(reflected, axis=1)], weights, re, im,
                     float(of.scale[view, m, 0]) ** -2, float(of.edge[view, m]))  # fmt: skip

    def _response(self, station: int, weight: NDArray[np.complex128]) -> tuple[Index, Index]:
        """Variables (symbol,), real and imaginary parts, of weight x_t of one base station."""
        key = (station, weight.tobytes())
        if key not in self.heard:
            length = self.problem.length
            self.heard[key] = self.new(length), self.new(length)
            for part, turn in zip(self.heard[key], (1.0, -1j)):
                row = self.rows.block(Zero, 1, length)
                self.rows.put(row, part, -1.0)
                self.linear(row, station, turn * weight)
        return self.heard[key]

    def step(self, root: float, x0: NDArray[np.complex128]) -> NDArray[np.complex128] | None:
        """X that maximises the minorant at x0 of the smallest t over base stations and views, margins above root ||(1, iota)||."""
        rows, before = self.above(root), self.count
        tau = int(self.new(1)[0])
        for sight in self.sights:
            start = sight.weights @ x0.reshape(-1, x0.shape[-1])  # (response, symbol)
            (self._seen if self.mode == "comp" else self._seen_through_noise)(rows, sight, start, tau)
        cost = np.zeros(self.count)
        cost[tau] = -1.0
        self.count = before
        return self.solve(rows, cost)

    def _seen(self, rows: Rows, sight: Sight, start: NDArray[np.complex128], tau: int) -> None:
        """Multipoint: F(R_lin) - tau e0 e0^T >= 0, scaled."""
        top = self._information(rows, sight, start, 2.0 * self.fisher.receive)
        self._own(rows, top, sight, start, 2.0 * sight.edge / sight.unit)
        rows.put(top, tau, -self.unit / sight.unit)

    def _seen_through_noise(self, rows: Rows, sight: Sight, start: NDArray[np.complex128], tau: int) -> None:
        """Beamforming: t = kappa_d p + N_rx q / noise, noise = 1 + N_rx s, q the Schur complement of the information at unit noise."""
        receive, length = self.fisher.receive, self.problem.length
        q, z, noise = self.new(3)  # q and z <= q / noise over `unit`, with N_rx in them
        top = self._information(rows, sight, start, 2.0 * receive)
        rows.put(top, q, -1.0)
        # noise - 1 >= N_rx s = N_rx sum |r^T X|^2 / L
        height = 2 + 2 * length * len(sight.reflected)
        ears = int(rows.block(Second, height, 1, np.r_[0.0, -2.0, np.zeros(height - 2)])[0])
        rows.put(ears + np.arange(2), noise, 1.0)
        weight = 2.0 * np.sqrt(receive / length) * sight.reflected  # (from, response)
        at = ears + 2 + 2 * length * np.arange(len(weight))[:, None, None] + np.arange(length)[:, None]  # (from, symbol, 1)
        for part, shift in ((weight[:, None], 0), (-1j * weight[:, None], length)):
            _complex(rows, at + shift, sight, part)
        # q >= z noise through its tangent (b z^2 + noise^2 / b) / 2
        noise0 = 1.0 + receive / length * float(np.sum(np.abs(sight.reflected @ start) ** 2))
        z0 = max(_schur(2.0 * receive * np.real((sight.parameters @ start) @ (sight.parameters @ start).conj().T)) / noise0, LEAST)
        b = np.sqrt(noise0 / z0)
        top = int(rows.block(Second, 4, 1, [0.5, -0.5, 0.0, 0.0])[0])
        rows.put(top + np.arange(2), q, 1.0), rows.put(top + 2, z, b), rows.put(top + 3, noise, 1.0 / b)
        top = int(rows.block(Positive, 1)[0])
        self._own(rows, top, sight, start, 2.0 * sight.edge / self.unit)
        rows.put(top, z, sight.unit / self.unit), rows.put(top, tau, -1.0)

    def _information(self, rows: Rows, sight: Sight, start: NDArray[np.complex128], factor: float) -> int:
        """First row of a new cone factor L Re(u_q^T R_lin conj(u_p)) >= 0."""
        of, heard = sight.parameters, sight.parameters @ start
        top = rows.triangle(-factor * np.real(heard @ heard.conj().T))
        q, p = np.tril_indices(len(of))
        factors = factor * np.where(p == q, 1.0, np.sqrt(2.0))[:, None, None]
        mixed = factors * (np.conj(heard[q])[..., None] * of[p][:, None] + np.conj(heard[p])[..., None] * of[q][:, None])
        pair, response = np.nonzero(np.any(mixed, axis=1))
        weight, row = mixed[pair, :, response], top + pair[:, None]
        rows.put(row, sight.re[:, response].T, weight.real), rows.put(row, sight.im[:, response].T, -weight.imag)
        return top

    def _own(self, rows: Rows, row: int, sight: Sight, start: NDArray[np.complex128], factor: float) -> None:
        """Row += factor L g^T R_lin conj(g); its constant goes to the cone that was opened last, whose first row it is."""
        heard = sight.tilt @ start
        _complex(rows, np.array([[row]]), sight, 2.0 * factor * np.conj(heard)[:, None] * sight.tilt)
        rows.right[-1][0] -= factor * float(np.sum(np.abs(heard) ** 2))


def _complex(rows: Rows, row: Index, sight: Sight, weight: NDArray[np.complex128]) -> None:
    """s[row] += Re(weight y), y the responses. row: (..., 1) without the response axis, weight: (..., response)."""
    used = np.any(weight, axis=tuple(range(weight.ndim - 1)))
    rows.put(row, sight.re[:, used], weight.real[..., used]), rows.put(row, sight.im[:, used], -weight.imag[..., used])


def _unit(*rows: NDArray[np.complex128]) -> list[NDArray[np.complex128]]:
    return [row / max(float(np.linalg.norm(row)), 1e-300) for row in rows]


def _coefficients(weights: NDArray[np.complex128], rows: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(row, response) with coefficients @ weights = rows; rounding is cleared, it would fill the matrices."""
    found = np.linalg.lstsq(weights.T, rows.T, rcond=1e-12)[0].T
    return np.where(np.abs(found) > 1e-12 * np.abs(found).max(initial=0.0), found, 0.0)


def _independent(rows: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(independent, row) real combinations of rows that span the same over the reals: each row alone where that is possible."""
    left, size, _ = np.linalg.svd(np.concatenate([rows.real, rows.imag], axis=1), full_matrices=False)
    keep = size > APART * max(size[0], 1e-300)
    return np.eye(len(rows)) if np.all(keep) else left[:, keep].T


def _schur(f: NDArray[np.float64]) -> float:
    return float(f[0, 0] - f[0, 1:] @ np.linalg.pinv(f[1:, 1:], hermitian=True) @ f[1:, 0])
