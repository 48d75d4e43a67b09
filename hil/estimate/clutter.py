"""What stands still, and projections past it: slow-time statistics with the static response and followed phases as nuisances.

Self-interference lies up to 60 dB above an echo. It is one response that every cell shares, (block, rx, mode), times the slowly wandering
phase of each transmitter's carrier at the receiver. Both are fitted, and inner products of echoes are those of what the fit leaves over: an
estimate then pays for them in its covariance. A complex echo may lie along the real direction of a phase, so products are real.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.estimate.slowtime import SlowTime

__all__ = ["Cleared", "Terms", "clear"]

ROUNDS = 6  # Newton steps of the followed phases: they wander by far less than a radian
RANK = 1e-9  # of the largest eigenvalue: less was not sent


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Fields that are a product of three: arrival (term, rx), departure (term, block, mode) and slow time (term, cell)."""

    arrival: NDArray[np.complex128]
    departure: NDArray[np.complex128]
    slow: NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Cleared:
    """Statistics with each transmitter's phase taken out of its modes, static response known, and what is left.

    left: (cell, block, rx, mode) Y X^H of what moves and of noise. static: (block, rx, mode). phases: (cell, group) rad, a group for every
    transmitter whose modes are its own, one for all where modes are shared. group: (mode,). variance: of the noise of one sample.
    """

    slow: SlowTime
    sent: NDArray[np.complex128]
    left: NDArray[np.complex128]
    static: NDArray[np.complex128]
    phases: NDArray[np.float64]
    group: NDArray[np.int64]
    variance: float
    total: NDArray[np.complex128]  # (block, mode, mode) inverse of the sum of `sent` over cells
    whiten: NDArray[np.complex128]  # (cell, block, mode, mode) inverse roots of `sent`
    turned: NDArray[np.float64]  # (cell x group, cell x group) inverse of the followed phases' Gram matrix
    heard: NDArray[np.float64]  # (cell x group,) what is left along the phases

    def products(self, terms: Terms, mixing: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Real inner products of fields with each other and with the data, static response and phases projected out.

        Field k is sum over terms of mixing[term, k]. Returns (field, field), (field,), in energy.
        """
        a, g, e = terms.arrival, terms.departure, terms.slow
        count = len(e)
        lit = np.einsum("kbm,cbmn->kcbn", g, self.sent, optimize=True)
        lit *= e[:, :, None, None]
        field = (e[:, :, None, None] * g[:, None]).reshape(count, -1)
        among = field.conj() @ lit.reshape(count, -1).T
        stood = lit.sum(axis=1)  # (term, block, mode)
        solved = np.einsum("kbm,bmn->kbn", stood, self.total)
        among -= stood.reshape(count, -1).conj() @ solved.reshape(count, -1).T
        among *= a.conj() @ a.T
        towards = np.einsum("kr,cbrm->kcbm", a.conj(), self.left, optimize=True)
        onto = np.einsum("kx,kx->k", field.conj(), towards.reshape(count, -1))
        along = self._along(a, lit, solved) @ mixing
        rows = np.real(along)  # (cell x group, field)
        gram = np.real(mixing.conj().T @ among @ mixing) - rows.T @ self.turned @ rows
        return gram, np.real(mixing.conj().T @ onto) - rows.T @ (self.turned @ self.heard)

    def _along(self, a: NDArray, lit: NDArray, solved: NDArray) -> NDArray[np.complex128]:
        """(cell x group, term) inner products with the directions in which the phases turn the static response, the static part removed."""
        mixed = np.einsum("kr,brm->kbm", a, self.static.conj())  # (term, block, mode)
        mine = self.group[:, None] == np.arange(self.phases.shape[1])  # (mode, group)
        direct = np.einsum("kcbm,kbm,mg->cgk", lit, mixed, mine.astype(float), optimize=True)
        back = np.einsum("kbm,cbmn->kcbn", solved, self.sent, optimize=True)
        direct -= np.einsum("kcbn,kbn,ng->cgk", back, mixed, mine.astype(float), optimize=True)
        return -1j * direct.reshape(-1, a.shape[0])

    def without(self, terms: Terms, weights: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """`left` less the sum of weighted terms, their static part removed."""
        lit = np.einsum("k,kr,kc,kbm->cbrm", weights, terms.arrival, terms.slow, terms.departure, optimize=True) @ self.sent
        return self.left - (lit - lit.sum(axis=0) @ self.total @ self.sent)

    def residual(self, terms: Terms, weights: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(cell, rx, block x mode) what is left without these terms, whitened: of `variance` if that is all."""
        white = self.without(terms, weights) @ self.whiten
        return np.moveaxis(white, 2, 1).reshape(white.shape[0], white.shape[2], -1)

    @property
    def rank(self) -> int:
        """Modes told apart, all blocks together."""
        return round(float(np.real(np.einsum("bmn,cbnm->", self.total, self.sent))))


def clear(slow: SlowTime) -> Cleared:
    """Follow the phases, fit what stands still, measure the noise where no walker's Doppler is."""
    group = slow.owner
    everything = slow.sent.sum(axis=0)
    shared = np.any(group < 0) or _rank(everything) < everything.shape[0] * everything.shape[1]
    group = np.zeros_like(group) if shared else np.unique(group, return_inverse=True)[1]
    phases = np.zeros((slow.times.size, int(group.max()) + 1))
    for _ in range(ROUNDS):
        sent, received, static, total = _stood(slow, phases, group)
        step = _turns(static, sent, received, group)
        phases = phases + step - step.mean(axis=0)
    sent, received, static, total = _stood(slow, phases, group)
    left = received - static @ sent
    whiten = _inverse_root(sent)
    inverse, heard = _directions(static, sent, left, total, group, phases.shape[1])
    made = Cleared(slow, sent, left, static, phases, group, 1.0, total, whiten, inverse, heard)
    variance = _floor(np.moveaxis(left @ whiten, 2, 1).reshape(slow.times.size, -1), made.rank * left.shape[2])
    return Cleared(slow, sent, left, static, phases, group, variance, total, whiten, inverse, heard)


def _stood(slow: SlowTime, phases: NDArray, group: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Statistics of modes turned as their carriers did, the static response, and the inverse of the sum of `sent`."""
    turn = np.exp(1j * phases[:, group])  # (cell, mode)
    sent = slow.sent * turn[:, None, :, None] * turn.conj()[:, None, None, :]
    received = slow.received * turn.conj()[:, None, None, :]
    total = np.linalg.pinv(sent.sum(axis=0), rcond=RANK, hermitian=True)
    return sent, received, received.sum(axis=0) @ total, total


def _parts(static: NDArray, group: NDArray, groups: int) -> NDArray:
    """(group, block, rx, mode) static response of each group's modes alone."""
    return np.stack([np.where(group == number, static, 0.0) for number in range(groups)])


def _turns(static: NDArray, sent: NDArray, received: NDArray, group: NDArray) -> NDArray:
    """(cell, group) by how much each group's phase is still off in every cell, by least squares."""
    parts = _parts(static, group, int(group.max()) + 1)
    lit = np.einsum("gbrm,cbmn->cgbrn", parts, sent, optimize=True)
    gram = np.real(np.einsum("cgbrn,hbrn->cgh", lit, parts.conj(), optimize=True))
    off = received - static @ sent
    onto = np.real(-1j * np.einsum("cbrn,gbrn->cg", off, parts.conj(), optimize=True))
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    return np.linalg.solve(gram + 1e-12 * np.maximum(size, 1e-300) * np.eye(gram.shape[1]), onto[..., None])[..., 0]


def _directions(static: NDArray, sent: NDArray, left: NDArray, total: NDArray, group: NDArray, groups: int) -> tuple[NDArray, NDArray]:
    """Inverse Gram matrix of the phases' directions past the static response, and what the data hold along them."""
    parts = _parts(static, group, groups)
    cells = sent.shape[0]
    lit = np.einsum("gbrm,cbmn->cgbrn", parts, sent, optimize=True)
    own = np.real(np.einsum("cgbrn,hbrn->cgh", lit, parts.conj(), optimize=True))
    flat = lit.reshape(cells * groups, -1)
    solved = np.einsum("cgbrn,bnm->cgbrm", lit, total, optimize=True).reshape(cells * groups, -1)
    gram = -np.real(flat.conj() @ solved.T)
    for cell in range(cells):
        at = slice(cell * groups, (cell + 1) * groups)
        gram[at, at] += own[cell]
    heard = np.real(-1j * np.einsum("cbrn,gbrn->cg", left, parts.conj(), optimize=True)).ravel()
    values, vectors = np.linalg.eigh((gram + gram.T) / 2.0)
    kept = values > 1e-7 * max(values[-1], 1e-300)  # turning every cell alike is the static response's own phase
    return (vectors[:, kept] / values[kept]) @ vectors[:, kept].T, heard


def _rank(sent: NDArray) -> int:
    values = np.linalg.eigvalsh(sent)
    return int(np.sum(values > RANK * values[..., -1:]))


def _inverse_root(sent: NDArray) -> NDArray:
    values, vectors = np.linalg.eigh(sent)
    kept = values > RANK * np.maximum(values[..., -1:], 1e-300)
    inverse = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return (vectors * inverse[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2))


def _floor(white: NDArray, entries: int) -> float:
    """Noise per entry from the upper half of the Doppler band; `entries` of a cell are not zero."""
    spectrum = np.fft.fft(white, axis=0)
    high = np.abs(np.fft.fftfreq(white.shape[0])) > 0.25
    return float(np.sum(np.abs(spectrum[high]) ** 2)) / white.shape[0] / (high.sum() * entries)
