"""A station's own frames in its own receivers: one clock for both, so all there is to find is where a turn begins.

No preamble need stand out: the waveform of every antenna is known whole, and a turn is matched against all of them at once. Turns of a
capture are added up first; one that begins elsewhere than the others tells of samples that are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import optimize

from hil.errors import HilError, InputError

WEAK = 1e-6  # of the strongest combination of antennas: less was not sent
STANDS_OUT = 8.0  # times the mean match over all lags


@dataclass(frozen=True, slots=True)
class Begins:
    """start: sample of the capture, with its fraction, at which a turn begins, in [0, turn). match: over its mean over all lags."""

    start: float
    match: float


def begins(samples: NDArray[np.complexfloating], sent: NDArray[np.complexfloating], where: str = "") -> Begins:
    """samples: (rx, sample), two turns or more; sent: (antenna, sample) one turn, cyclic, on the same clock. The strongest echo is time zero.

    HilError `no-preamble` when nothing stands out, `samples-lost` when not all turns begin alike, `capture-short`.
    """
    if samples.ndim != 2 or sent.ndim != 2:
        raise InputError("shape", "samples and what was sent are matrices", found=f"{samples.shape}, {sent.shape}",
                         allowed="(rx, sample), (antenna, sample)")  # fmt: skip
    turn = sent.shape[1]
    turns = samples.shape[1] // turn
    if turns < 2:
        raise HilError("capture-short", "fewer than two turns of the frame", where=where, found=f"{samples.shape[1]} samples",
                       allowed=f"{2 * turn} or more", fix="capture longer")  # fmt: skip
    whole = scipy.fft.fft(samples[:, : turns * turn].reshape(len(samples), turns, turn), axis=-1)  # (rx, turn, bin)
    known = np.conj(_apart(scipy.fft.fft(sent, axis=-1)))
    at, match = _match(whole.sum(1), known)
    if match < STANDS_OUT:
        raise HilError("no-preamble", "the station does not hear its own frame", where=where, found=f"a match of {match:.1f} times the mean",
                       allowed=f"above {STANDS_OUT:g}", fix="check that it transmits, and its receive gain")  # fmt: skip
    each = [_match(whole[:, number], known)[0] for number in range(turns)]
    if any(min((lag - at) % turn, (at - lag) % turn) > 1 for lag in each):
        raise HilError("samples-lost", "turns of the frame do not begin alike", where=where, found=f"at {each}", allowed=f"at {at}",
                       fix="capture again; fewer channels or a lower rate if it goes on")  # fmt: skip
    return Begins((at + _fraction(whole.sum(1), known, at)) % turn, match)


def _match(seen: NDArray, known: NDArray) -> tuple[int, float]:
    """(lag, match over mean) summed in power over receivers and antennas; seen: (rx, bin), known: (antenna, bin) conjugate."""
    power = np.zeros(known.shape[1])
    for wave in known:
        power += np.sum(np.abs(scipy.fft.ifft(seen * wave, axis=-1)) ** 2, axis=0)
    at = int(np.argmax(power))
    return at, float(power[at] / power.mean())


def _apart(waves: NDArray) -> NDArray:
    """(combination, bin) what the antennas send as combinations of equal power that have nothing in common: a match against all of them is
    then what a flat response of every antenna explains."""
    values, vectors = np.linalg.eigh(waves @ waves.conj().T)
    kept = values > WEAK * values[-1]
    return (vectors[:, kept] / np.sqrt(values[kept])).conj().T @ waves


def _fraction(seen: NDArray, known: NDArray, at: int) -> float:
    """Samples beyond `at` by which a turn begins late: where a flat response explains most."""
    place = np.fft.fftfreq(known.shape[1])
    onto = seen[:, None] * (known * np.exp(2j * np.pi * at * place))  # (rx, combination, bin)
    missed = lambda late: -float(np.sum(np.abs(onto @ np.exp(2j * np.pi * late * place)) ** 2))
    return float(optimize.minimize_scalar(missed, bounds=(-1.0, 1.0), method="bounded", options={"xatol": 1e-3}).x)
