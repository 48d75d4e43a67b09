"""What stands still, and projections past it: slow-time statistics without what is alike in every turn of the waveform.

Self-interference lies up to 60 dB above an echo. Frames are cyclic, so all that repeats with them (the room, what amplifiers and mixers
make of a known waveform, constants) is the mean over turns, sample by sample, and goes with it whether any model describes it or not. What
does not repeat is the slowly wandering phase of each transmitter's carrier at the receiver: followed, and projected out. Inner products of
echoes are those of what both leave over: an estimate then pays for them in its covariance. A complex echo may lie along the real direction
of a phase, so products are real.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.estimate.slowtime import SlowTime

__all__ = ["Cleared", "Terms", "clear"]

ROUNDS = 6  # Newton steps of the followed phases: they wander by far less than a radian
RANK = 1e-9  # of the largest eigenvalue: less was not sent


@dataclass(frozen=True, slots=True)
class Terms:
    """Fields that are a product of three: arrival (term, rx), departure (term, block, mode) and slow time (term, cell)."""

    arrival: NDArray[np.complex128]
    departure: NDArray[np.complex128]
    slow: NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Cleared:
    """Statistics with what stands still taken out.

    left: (cell, block, rx, mode) Y X^H of what moves and of noise. static: (block, rx, mode) response that stands still. phases: (cell,
    group) rad, a group for every transmitter whose modes are its own, one for all where modes are shared. group: (mode,). variance: of the
    noise of one sample.
    """

    slow: SlowTime
    left: NDArray[np.complex128]
    static: NDArray[np.complex128]
    phases: NDArray[np.float64]
    group: NDArray[np.int64]
    variance: float
    whiten: NDArray[np.complex128]  # (cell, block, mode, mode) inverse roots of `sent`
    turned: NDArray[np.float64]  # (place, turn x group, turn x group) inverse of the Gram matrix of the followed phases' directions
    heard: NDArray[np.float64]  # (place, turn x group) what is left along them

    @property
    def sent(self) -> NDArray[np.complex128]:
        """(cell, block, mode, mode)."""
        return self.slow.sent

    def moving(self, slow: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(term, cell, mode) of slow vectors (term, cell): what of them is not alike in every turn, each mode turned as its carrier was."""
        return _moving(slow[..., None] * np.exp(1j * self.phases)[:, self.group], self.slow.places)

    def _lit(self, terms: Terms) -> tuple[NDArray, NDArray]:
        """Fields (term, cell, block, mode) without their arrival, and the same times `sent`."""
        field = self.moving(terms.slow)[:, :, None] * terms.departure[:, None]
        return field, (field[..., None, :] @ self.sent)[..., 0, :]

    def products(self, terms: Terms, mixing: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Real inner products of fields with each other and with the data, what stands still and followed phases projected out.

        Field k is sum over terms of mixing[term, k]. Returns (field, field), (field,), in energy.
        """
        a, count = terms.arrival, len(terms.slow)
        field, lit = self._lit(terms)
        flat = field.reshape(count, -1).conj()
        among = (flat @ lit.reshape(count, -1).T) * (a.conj() @ a.T)
        towards = np.tensordot(self.left, a.conj(), axes=(2, 1))  # (cell, block, mode, term)
        onto = np.einsum("kx,xk->k", flat, towards.reshape(-1, count))
        rows = np.real(self._along(a, lit) @ mixing)  # (place, turn x group, field)
        gram = np.real(mixing.conj().T @ among @ mixing) - np.einsum("pxk,pxy,pyl->kl", rows, self.turned, rows, optimize=True)
        return gram, np.real(mixing.conj().T @ onto) - np.einsum("pxk,pxy,py->k", rows, self.turned, self.heard, optimize=True)

    def _along(self, a: NDArray, lit: NDArray) -> NDArray[np.complex128]:
        """(place, turn x group, term) inner products with the directions in which the phases turn what stands still."""
        mixed = np.einsum("kr,brm->kbm", a, self.static.conj())  # (term, block, mode)
        each = np.einsum("kcbm,kbm->kcm", lit, mixed) * np.exp(-1j * self.phases)[:, self.group]
        mine = (self.group[:, None] == np.arange(self.phases.shape[1])).astype(float)  # (mode, group)
        return -1j * _by_place(np.moveaxis(each @ mine, 0, -1), self.slow.places)

    def without(self, terms: Terms, weights: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """`left` less the sum of weighted terms, what of them stands still removed."""
        lit = self._lit(terms)[1]
        return self.left - np.einsum("k,kr,kcbm->cbrm", weights, terms.arrival, lit, optimize=True)

    def residual(self, terms: Terms, weights: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """(cell, rx, block x mode) what is left without these terms, whitened: of `variance` if that is all."""
        white = self.without(terms, weights) @ self.whiten
        return np.moveaxis(white, 2, 1).reshape(white.shape[0], white.shape[2], -1)

    @property
    def rank(self) -> int:
        """Modes told apart, all blocks together."""
        return _rank(self.sent.sum(axis=0))


def clear(slow: SlowTime) -> Cleared:
    """Follow the phases, take out what stands still, measure the noise where no walker's Doppler is."""
    group = slow.owner
    everything = slow.sent.sum(axis=0)
    shared = np.any(group < 0) or _rank(everything) < everything.shape[0] * everything.shape[1]
    group = np.zeros_like(group) if shared else np.unique(group, return_inverse=True)[1]
    groups = int(group.max()) + 1
    phases = np.zeros((slow.times.size, groups))
    for _ in range(ROUNDS):
        left, static = _stood(slow, phases, group)
        inverse, heard = _directions(slow, static, left, phases, group)
        step = np.einsum("pxy,py->px", inverse, heard).reshape(slow.places, slow.turns, groups)
        phases = phases + np.swapaxes(step, 0, 1).reshape(phases.shape)
    left, static = _stood(slow, phases, group)
    whiten = _inverse_root(slow.sent)
    made = Cleared(slow, left, static, phases, group, 1.0, whiten, *_directions(slow, static, left, phases, group))
    variance = _floor(np.moveaxis(left @ whiten, 2, 1).reshape(slow.times.size, -1), slow.turns, made.rank * left.shape[2])
    return replace(made, variance=variance)


def _moving(values: NDArray, places: int) -> NDArray:
    """(term, cell, mode) less the mean over all turns of what is at the same place."""
    whole = values.reshape(values.shape[0], -1, places, values.shape[-1])
    return (whole - whole.mean(axis=1, keepdims=True)).reshape(values.shape)


def _by_place(values: NDArray, places: int) -> NDArray:
    """(place, turn x group, ...) of (cell, group, ...)."""
    cells, groups = values.shape[:2]
    return np.swapaxes(values.reshape(cells // places, places, groups, *values.shape[2:]), 0, 1).reshape(
        places, cells // places * groups, *values.shape[2:]
    )


def _stood(slow: SlowTime, phases: NDArray, group: NDArray) -> tuple[NDArray, NDArray]:
    """What does not stand still, and the response (block, rx, mode) that does, carriers turned as they were."""
    turn = np.exp(1j * phases[:, group])  # (cell, mode)
    sent = slow.sent * turn[:, None, :, None] * turn.conj()[:, None, None, :]
    received = slow.received * turn.conj()[:, None, None, :]
    static = received.sum(axis=0) @ np.linalg.pinv(sent.sum(axis=0), rcond=RANK, hermitian=True)
    rest = slow.received - (static * turn[:, None, None, :]) @ slow.sent
    whole = rest.reshape(slow.turns, slow.places, *rest.shape[1:])
    return (whole - whole.mean(axis=0)).reshape(rest.shape), static


def _directions(slow: SlowTime, static: NDArray, left: NDArray, phases: NDArray, group: NDArray) -> tuple[NDArray, NDArray]:
    """Inverse Gram matrix, (place, turn x group, turn x group), of the directions of the phases past what stands still, and what is left
    along them. Turning what is at the same place of every turn alike is no direction: it is the phase of what stands still."""
    groups, turns = phases.shape[1], slow.turns
    parts = np.stack([np.where(group == number, static, 0.0) for number in range(groups)])  # (group, block, rx, mode)
    among = np.einsum("gbrm,pbmn,hbrn->pgh", parts.conj(), np.conj(slow.sent[: slow.places]), parts, optimize=True)
    turn = _by_place(np.exp(1j * phases)[..., None], slow.places)[..., 0].reshape(slow.places, turns, groups)
    gram = np.real(np.einsum("ptg,psh,pgh->ptgsh", turn.conj(), turn, among, optimize=True))
    uneven = np.eye(turns) - 1.0 / turns
    gram *= uneven[None, :, None, :, None]
    gram = np.einsum("tu,pugvh,vs->ptgsh", uneven, gram, uneven).reshape(slow.places, turns * groups, turns * groups)
    each = np.einsum("cbrm,gbrm->cg", left, parts.conj(), optimize=True)
    heard = np.real(-1j * np.exp(-1j * phases) * each)
    return np.linalg.pinv(gram, rcond=1e-7, hermitian=True), _by_place(heard, slow.places)


def _rank(sent: NDArray) -> int:
    values = np.linalg.eigvalsh(sent)
    return int(np.sum(values > RANK * values[..., -1:]))


def _inverse_root(sent: NDArray) -> NDArray:
    values, vectors = np.linalg.eigh(sent)
    kept = values > RANK * np.maximum(values[..., -1:], 1e-300)
    inverse = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return (vectors * inverse[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2))


def _floor(white: NDArray, turns: int, entries: int) -> float:
    """Noise per entry from the upper half of the Doppler band, without the harmonics of the turn; `entries` of a cell are not zero."""
    spectrum = np.fft.fft(white, axis=0)
    cells = white.shape[0]
    high = (np.abs(np.fft.fftfreq(cells)) > 0.25) & (np.arange(cells) % turns > 0)
    return float(np.sum(np.abs(spectrum[high]) ** 2)) / cells / (high.sum() * entries)
