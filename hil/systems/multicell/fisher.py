"""How well each base station can learn its target's angle: Fisher information, its Schur complement t, and the gradient of t.

Every derivative of base station m's mean echo has the form (a u^T + da g^T) X, with a the receive steering vector: u for every parameter,
g for the angle theta_m = angle[m, m] only. With R = X X^H / L over the stacked antennas of all base stations

    F_pq = 2 L [kappa_a Re(u_q^T R conj(u_p)) + (p = q = theta_m) kappa_d g^T R conj(g)],   kappa_d = |da|^2 / noise,
    kappa_a = N_rx / (noise + N_rx s_m),   t_m = F_00 - F_0: F_::^-1 F_:0,   variance of theta_m >= 1 / t_m.

Coordinated beamforming: parameters theta_m, Re and Im alpha[m, m]; what other cells send comes off target m as coloured noise s_m a a^H.
Multipoint: their echoes are signal, s_m = 0; parameters theta_m, the other angle[n, m], Re and Im alpha[m, m], Re and then Im of the other
alpha[n, m]. Babu et al., Propositions 1 and 2, with the cross terms that are missing there. Arrays are numpy or torch, float64, with
leading batch axes on R; nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell.problem import Kind, Mode, Problem

NOTHING = 1e-12  # eigenvalues of the scaled nuisance block below this share of its largest say nothing


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What of a problem its Fisher information needs. The last axis is (base station x antenna), as in `Problem.stacked`.

    u: (view, base station, parameter, antennas), the own target's angle first; g: (view, base station, antennas).
    reflection: (view, base station, from base station, antennas), s_m = sum_n r_n^T R conj(r_n). scale: (view, base station, parameter)
    root of one over the information of isotropic full power, 0 where there is none. edge: (view, base station) kappa_d.
    noise: (base station,) of the radar receivers. receive: their antennas. length: symbols.
    """

    u: NDArray[np.complex128]
    g: NDArray[np.complex128]
    reflection: NDArray[np.complex128]
    scale: NDArray[np.float64]
    edge: NDArray[np.float64]
    noise: NDArray[np.float64]
    receive: int
    length: int


def steering(place: NDArray[np.float64], angle: NDArray[np.float64]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """(v, dv/dangle), (..., antenna) each, of elements at `place` wavelengths."""
    v = np.exp(2j * np.pi * place * np.sin(angle)[..., None])
    return v, 2j * np.pi * place * np.cos(angle)[..., None] * v


def rows(problem: Problem, mode: Mode) -> Rows:
    """Of every view and base station."""
    j, n = problem.stations, problem.antennas
    angle, alpha = (np.stack(part) for part in zip(*problem.views))  # (view, from, target)
    v, dv = (np.zeros((len(angle), j, j, j, n), complex) for _ in range(2))  # (view, target, from, block, antenna)
    every = np.arange(j)
    chains = np.ones((j, n)) if problem.gains is None else problem.gains
    v[:, :, every, every], dv[:, :, every, every] = (
        np.swapaxes(part * chains[:, None], 1, 2) for part in steering(problem.transmit_place, angle)
    )
    v, dv = v.reshape(*v.shape[:3], j * n), dv.reshape(*v.shape[:3], j * n)
    echo = np.swapaxes(alpha, 1, 2)[..., None]  # (view, target, from, 1)

    theta = np.diagonal(angle, axis1=1, axis2=2)  # (view, base station)
    turn = 2 * np.pi * np.cos(theta)
    centre = float(np.mean(problem.receive_place))
    edge = turn**2 * np.sum((problem.receive_place - centre) ** 2) / problem.noise_radar

    own, *others = [(every + step) % j for step in range(j)]  # base stations, seen from each
    reflection = np.zeros((len(angle), j, j, j * n), complex)
    if mode == "cbf":
        reflection = echo * v
        reflection[:, every, own] = 0.0
        g, others = (echo * v)[:, every, own], []
    else:
        g = np.sum(echo * v, axis=2)
    seen = [own, *others]
    angles, real = [(echo * dv)[:, every, n] for n in seen], [v[:, every, n] for n in seen]
    u = np.stack([*angles, real[0], 1j * real[0], *real[1:], *(1j * row for row in real[1:])], axis=2)
    u[:, :, 0] += (1j * turn * centre)[..., None] * g  # receive elements that are not centred: a^H da, see kappa_d of the centred ones

    spread = np.repeat(problem.power / n, n)  # isotropic
    plain = Rows(u, g, reflection, np.ones(u.shape[:3]), edge, problem.noise_radar, len(problem.receive_place), problem.length)
    most = np.diagonal(information(plain, np.diag(spread).astype(complex)), axis1=-2, axis2=-1)
    with np.errstate(divide="ignore"):
        scale = np.where(most > 1e-14 * most.max(axis=-1, keepdims=True), 1.0 / np.sqrt(most), 0.0)
    return Rows(u, g, reflection, scale, edge, problem.noise_radar, len(problem.receive_place), problem.length)


def covariance(problem: Problem, waveform: Any, kind: Kind) -> Any:
    """R (..., antennas, antennas) of W or X (..., base station, antenna, stream or symbol)."""
    x = waveform.reshape(*waveform.shape[:-3], problem.stations * problem.antennas, waveform.shape[-1])
    r = x @ _adjoint(x)
    return r / problem.length if kind == "slp" else r


def reflected(rows: Rows, r: Any) -> Any:
    """s_m (..., view, base station): power that target m returns of what other cells send, per receive antenna."""
    return _form(_like(rows.reflection, r), r, 3).real.sum(-1)


def information(rows: Rows, r: Any, *, covariance_information: bool = False, published_covariance_factor: bool = False) -> Any:
    """F (..., view, base station, parameter, parameter) for R (..., antennas, antennas).

    covariance_information: with what the coloured noise itself tells of theta (Slepian-Bangs; the paper leaves it out).
    published_covariance_factor: s_m taken L times, as the paper's equation (9) has it.
    """
    u = _like(rows.u, r)
    s = reflected(rows, r) * (rows.length if published_covariance_factor else 1)
    noise, edge = _like(rows.noise, r).real, _like(rows.edge, r).real
    kappa = rows.receive / (noise + rows.receive * s)
    parameters = (u @ r[..., None, None, :, :] @ _adjoint(u)).real
    angle = edge * _form(_like(rows.g, r), r).real
    if covariance_information:
        angle = angle + s**2 * kappa * edge
    first = _like(np.diag(np.eye(rows.u.shape[2])[0]), r).real
    return 2 * rows.length * (kappa[..., None, None] * parameters + angle[..., None, None] * first)


def schur(rows: Rows, f: Any) -> Any:
    """t (..., view, base station) of F; directions of the nuisance parameters that change nothing cost nothing. Never negative, never NaN."""
    scale = _like(rows.scale, f).real
    nuisance = scale[..., 1:, None] * f[..., 1:, 1:] * scale[..., None, 1:]
    cross = scale[..., 1:] * f[..., 1:, 0]
    spent = (cross[..., None, :] @ _linalg(f).pinv(nuisance, rtol=NOTHING, hermitian=True) @ cross[..., None])[..., 0, 0]
    return (f[..., 0, 0] - spent).clip(0.0)


def t_of(problem: Problem, mode: Mode, r: Any, **options: bool) -> Any:
    """t (..., view, base station), rad^-2, of covariances R (..., antennas, antennas); options as for `information`."""
    of = rows(problem, mode)
    return schur(of, information(of, r, **options))


def sensing(problem: Problem, mode: Mode, waveform: Any, kind: Kind, **options: bool) -> Any:
    """t (..., base station), rad^-2, of W or X over the worst view."""
    t = t_of(problem, mode, covariance(problem, waveform, kind), **options)
    return t.min(-2) if isinstance(t, np.ndarray) else t.amin(-2)


def gradient(rows: Rows, r: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """G (..., view, base station, antennas, antennas), Hermitian, with dt = tr(G dR): the envelope of the Schur complement."""
    f = information(rows, r)
    nuisance = rows.scale[..., 1:, None] * f[..., 1:, 1:] * rows.scale[..., None, 1:]
    inverse = np.linalg.pinv(nuisance, rtol=NOTHING, hermitian=True)
    price = rows.scale[..., 1:] * (inverse @ (rows.scale[..., 1:] * f[..., 1:, 0])[..., None])[..., 0]
    best = rows.u[..., 0, :] - (price[..., None, :] @ rows.u[..., 1:, :])[..., 0, :]
    kappa = rows.receive / (rows.noise + rows.receive * reflected(rows, r))
    lost = (kappa**2 * _form(best, r).real)[..., None, None] * _outer(rows.reflection).sum(-3)
    return 2 * rows.length * (kappa[..., None, None] * _outer(best) + rows.edge[..., None, None] * _outer(rows.g) - lost)


def _outer(x: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return x.conj()[..., :, None] * x[..., None, :]


def _form(x: Any, r: Any, axes: int = 2) -> Any:
    """x^T R conj(x) for x (..., antennas) with `axes` axes of its own behind those it shares with R (..., antennas, antennas)."""
    for _ in range(axes):
        r = r[..., None, :, :]
    return (x[..., None, :] @ r @ x.conj()[..., None])[..., 0, 0]


def _adjoint(x: Any) -> Any:
    return np.swapaxes(x.conj(), -1, -2) if isinstance(x, np.ndarray) else x.mH


def _like(x: NDArray, r: Any) -> Any:
    """A constant as an array of r's library and precision."""
    return x if isinstance(r, np.ndarray) else r.new_tensor(x)


def _linalg(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return np.linalg
    import torch

    return torch.linalg
