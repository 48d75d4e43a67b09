"""Low-crest phases for preambles and pilots, and the table that holds them.

The iteration that finds them is not bit-stable across FFT libraries, so its result travels with the package as data (phases in steps of
2 pi/256) and is checked by hash. `python -c "from hil.waveform.crest import write; write('tables.npz')"` made the table.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from hil.errors import InputError
from hil.waveform.numerology import USED_TONES

TABLE_SHA256 = "b9c9aae2ddf09a9acd536dcc6e90f3f51a6faa1285b596867418bf1fc35b8155"
PREAMBLES = 64  # per grid: 16 devices x 4 streams
DEVICES = 16
COMBS = (1, 2, 4, 8, 16, 32)  # how many antennas may share the pilot symbols
THIN = ((128, 96, 16),)  # N, K, antennas of combs with fewer than eight tones each: two sites of up to eight antennas in one narrow frame
STEPS = 256  # phase steps of a turn
THIN_SEED = 20261122


def crest_reduce(
    start: NDArray[np.complex128], tones: NDArray[np.int64], fft: int, rounds: int = 300, clip: float = 1.02
) -> NDArray[np.complex128]:
    """Unit-modulus tones with a low crest: alternating projection (clip at `clip` rms, 4x oversampled; restore the modulus).

    start: (..., tone) unit-modulus first guess; tones: (tone,) tone numbers.
    """
    length = 4 * fft
    symbol = start.copy()
    spectrum = np.zeros((*start.shape[:-1], length), dtype=np.complex128)
    limit = clip * np.sqrt(len(tones))
    for _ in range(rounds):
        spectrum[...] = 0.0
        spectrum[..., tones % length] = symbol
        wave = np.fft.ifft(spectrum, axis=-1) * length
        size = np.abs(wave)
        wave *= np.minimum(1.0, limit / np.maximum(size, 1e-300))
        symbol = np.fft.fft(wave, axis=-1)[..., tones % length]
        symbol /= np.abs(symbol)
    return symbol


def peak_to_mean_db(symbol: NDArray[np.complex128], tones: NDArray[np.int64], fft: int) -> NDArray[np.float64]:
    """PAPR of (..., tone) symbols in dB, 4x oversampled."""
    spectrum = np.zeros((*symbol.shape[:-1], 4 * fft), dtype=np.complex128)
    spectrum[..., tones % (4 * fft)] = symbol
    power = np.abs(np.fft.ifft(spectrum, axis=-1)) ** 2
    return 10.0 * np.log10(power.max(-1) / power.mean(-1))


def _tones(used: int) -> NDArray[np.int64]:
    return np.concatenate([np.arange(-(used // 2), 0), np.arange(1, used // 2 + 1)])


def _steps(symbol: NDArray[np.complex128]) -> NDArray[np.uint8]:
    """Phases to the nearest 256th of a turn."""
    return (np.round(np.angle(symbol) / (2.0 * np.pi) * STEPS).astype(np.int64) % STEPS).astype(np.uint8)


def draw(rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Every table from scratch: `preamble-N-K` (device and stream, tone), `comb-N-K-antennas` (tone); phases in steps of a 256th turn."""
    tables: dict[str, NDArray[np.uint8]] = {}
    for fft, offered in USED_TONES.items():
        for used in offered:
            tones = _tones(used)
            start = np.exp(2j * np.pi * rng.random((PREAMBLES, used)))
            tables[f"preamble-{fft}-{used}"] = _steps(crest_reduce(start, tones, fft))
            for antennas in COMBS:
                phases = np.empty(used, dtype=np.uint8)
                for comb in range(antennas if used // antennas >= 8 and used % antennas == 0 else 0):
                    mine = tones[comb::antennas]
                    tries = crest_reduce(np.exp(2j * np.pi * rng.random((8, len(mine)))), mine, fft)
                    phases[comb::antennas] = _steps(tries[np.argmin(peak_to_mean_db(tries, mine, fft))])
                if used // antennas >= 8 and used % antennas == 0:
                    tables[f"comb-{fft}-{used}-{antennas}"] = phases
    return tables | thin(np.random.default_rng(THIN_SEED))


def thin(rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """The tables of `THIN`, with a generator of their own: those before them stay as they were."""
    tables = {}
    for fft, used, antennas in THIN:
        phases = np.empty(used, dtype=np.uint8)
        for first in range(antennas):
            mine = _tones(used)[first::antennas]
            tries = crest_reduce(np.exp(2j * np.pi * rng.random((8, len(mine)))), mine, fft)
            phases[first::antennas] = _steps(tries[np.argmin(peak_to_mean_db(tries, mine, fft))])
        tables[f"comb-{fft}-{used}-{antennas}"] = phases
    return tables


def digest(tables: dict[str, NDArray[np.uint8]]) -> str:
    """SHA-256 over names, shapes and phases."""
    sha = hashlib.sha256()
    for name in sorted(tables):
        sha.update(f"{name}{tables[name].shape}".encode())
        sha.update(np.ascontiguousarray(tables[name]).tobytes())
    return sha.hexdigest()


def write(path: str, seed: int = 20240229) -> str:
    """Draw the tables, store them at `path` and return their hash (to be put into TABLE_SHA256)."""
    tables = draw(np.random.default_rng(seed))
    np.savez_compressed(path, **tables)
    return digest(tables)


@cache
def _stored() -> dict[str, NDArray[np.uint8]]:
    raw = files("hil.waveform").joinpath("tables.npz").read_bytes()
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        tables = {name: archive[name] for name in archive.files}
    found = digest(tables)
    if found != TABLE_SHA256:
        raise InputError("waveform-table", "the stored preambles are not those of this version", found=found[:16],
                         allowed=TABLE_SHA256[:16], fix="install the package again")  # fmt: skip
    return tables


def _unit(phases: NDArray[np.uint8]) -> NDArray[np.complex128]:
    return np.exp(2j * np.pi / STEPS * phases)


@cache
def preamble(fft: int, used: int, device: int, stream: int = 0) -> NDArray[np.complex128]:
    """(tone,) unit-modulus preamble P of a device; another stream of the same device has another one."""
    if not (0 <= device < DEVICES and 0 <= stream < PREAMBLES // DEVICES):
        allowed = f"devices 0..{DEVICES - 1}, streams 0..{PREAMBLES // DEVICES - 1}"
        raise InputError("preamble", "no preamble for this device and stream", found=f"device {device}, stream {stream}",
                         allowed=allowed, fix="number the devices from 0")  # fmt: skip
    symbol = _unit(_stored()[f"preamble-{fft}-{used}"][stream * DEVICES + device])
    symbol.setflags(write=False)
    return symbol


@cache
def comb(fft: int, used: int, antennas: int) -> NDArray[np.complex128]:
    """(tone,) unit-modulus pilot phases whose every comb of ranks r, r + antennas, .. has a low crest."""
    tables = _stored()
    if f"comb-{fft}-{used}-{antennas}" not in tables:
        allowed = [str(n) for n in COMBS if f"comb-{fft}-{used}-{n}" in tables]
        raise InputError("pilots", "no rotating comb for this many antennas", found=str(antennas), allowed=", ".join(allowed),
                         fix="sound a subset of the antennas at a time")  # fmt: skip
    symbol = _unit(tables[f"comb-{fft}-{used}-{antennas}"])
    symbol.setflags(write=False)
    return symbol
