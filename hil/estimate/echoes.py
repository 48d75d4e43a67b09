"""From one capture of several transmitters to each one's echoes: separation, carrier tracking, and removal of what does not move.

All transmitters send their known measuring frames at once, each with its own carrier offset and start. A transmitter's echo lies 40-60 dB
below every direct path, so the others' static signals are rebuilt in time and subtracted before its own is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft as fourier

from hil.errors import DeviceError, InputError
from hil.units import SPEED_OF_LIGHT
from hil.waveform import Numerology, ofdm

__all__ = ["SHORTEST_S", "Echoes", "Illumination", "direct_delay", "direct_response", "observe"]

CELL = 28  # symbols averaged to one slow-time cell: 1 ms, within which 25 Hz of Doppler turn 9 degrees
SHORTEST_S = 0.05  # of a capture: shorter, walking speed and walls are not told apart
ROUGH = 0.01  # tone spacings of carrier error that a first look may have: its tones leak 40 dB down, and average out
GROUP = 6  # tones averaged to one: 180 kHz, over which 200 ns of delay turn 13 degrees; divides a block


@dataclass(frozen=True, slots=True, eq=False)
class Illumination:
    """One transmitter as the controller knows it, and where its frame was found in the capture."""

    reference: NDArray[np.complex128]  # (symbol, tone) of its one stream, before the precoder
    precoder: NDArray[np.complex128]  # (block, antenna) sqrt(W)
    antennas: NDArray[np.float64]  # (antenna, 3) metres, world frame
    start: float  # sample of the capture at which a frame begins; any whole number of frames away, within half a prefix
    cfo_hz: float  # transmitter over receiver, within 1 kHz
    sounded: NDArray[np.complex128] | None = None  # (rx, antenna, tone) its channel while it alone was heard, any phase and delay
    sent_error: NDArray[np.float64] | None = None  # of what antennas 1.. send over the first, see `Echoes`; None: exactly the precoder


@dataclass(frozen=True, slots=True, eq=False)
class Echoes:
    """What moves in one transmitter's light: slow-time x receiver x frequency, relative to its direct path.

    spectra: (cell, rx, group) response to the stream, static part removed, phase and delay those of the direct path. weight: (cell, group)
    inverse noise variance up to one common factor. times: (cell,) seconds from the middle of the capture. static: (rx, group) what was
    removed. blocks: (group,) precoder block. reference_std: seconds, of the direct path's delay, scatterers near it included. sent_error:
    covariance of the relative errors of what antennas 1, 2, ... send against the first, Re and Im interleaved, of chains and places.
    """

    spectra: NDArray[np.complex128]
    weight: NDArray[np.float64]
    times: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    blocks: NDArray[np.intp]
    precoder: NDArray[np.complex128]
    antennas: NDArray[np.float64]
    static: NDArray[np.complex128]
    reference_std: float
    cfo_hz: float = 0.0
    phases: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (cell,) rad, followed and removed
    assumptions: tuple[str, ...] = ()
    sent_error: NDArray[np.float64] | None = None  # (2 (antenna - 1), 2 (antenna - 1))


def direct_response(
    antennas: NDArray[np.float64], receivers: NDArray[np.float64], frequencies: NDArray[np.float64], carrier_hz: float
) -> NDArray[np.complex128]:
    """(rx, antenna, frequency) unit direct paths between all pairs, delays exact but for the mean over pairs, which is left out."""
    distance = np.linalg.norm(receivers[:, None] - antennas[None], axis=-1)
    extra = (distance - distance.mean()) / SPEED_OF_LIGHT
    return np.exp(-2j * np.pi * (carrier_hz + frequencies) * extra[..., None]) * (distance.mean() / distance)[..., None]


def direct_delay(channel: Any, expected: Any, frequencies: NDArray[np.float64]) -> tuple[float, float]:
    """(delay, std) seconds of the direct path in `channel` (..., tone), its shape over elements and tones `expected` up to gain and delay.

    Beamforming on the direct path's own signature. frequencies: (tone,) multiples of their least spacing. What scatterers do to the delay
    is in the standard deviation as three terms, root of the sum of squares. Scatterers of other directions bias single receivers and
    single antennas differently: one jackknife along each leading axis, not over the pairs, since a row shares its direction. Scatterers
    in the beam bias all alike: a path of relative amplitude r e^(j phi), late by x, changes the delay by the real part of r x e^(j phi)
    and the slope of the log amplitude over angular frequency by the imaginary part. As phi is anything, the slope, which is seen, is as
    large as the bias of the delay, which is not. The jackknives count both parts, half each. At least 0.2 ns; a tenth of the resolution
    where fewer than three pairs show it.
    """
    match = np.asarray(channel) * np.conj(expected)
    axes = [axis for axis in range(match.ndim - 1) if match.shape[axis] > 1]
    width = np.ptp(frequencies)
    turn = 2j * np.pi * frequencies

    def climb(total: NDArray, delay: float) -> float:
        for _ in range(8):
            terms = total * np.exp(turn * delay)
            value, first, second = terms.sum(), (turn * terms).sum(), (turn**2 * terms).sum()
            bend = np.abs(first) ** 2 + np.real(np.conj(value) * second)
            if bend >= 0.0:
                break
            step = float(np.clip(np.real(np.conj(value) * first) / bend, -0.1 / width, 0.1 / width))
            delay -= step
            if abs(step) < 1e-7 / width:
                break
        return delay

    power = np.abs(np.broadcast_to(expected, match.shape)) ** 2

    def tilted(total: NDArray, weight: NDArray, delay: float) -> complex:
        """Delay, and on the imaginary axis the slope of the amplitude against what is expected, by least squares."""
        delay = climb(total, delay)
        terms = total * np.exp(turn * delay)
        level = np.real(terms * np.conj(terms.sum())) / np.abs(terms.sum()) ** 2 * weight.sum()
        spread = frequencies - weight @ frequencies / weight.sum()
        return delay + 1j * float(level @ spread) / (2.0 * np.pi * float(weight @ spread**2))

    everywhere = tuple(range(match.ndim - 1))
    total, weight = match.sum(axis=everywhere), power.sum(axis=everywhere)
    found = tilted(total, weight, _coarse(total, frequencies))
    if np.prod(match.shape[:-1]) < 3:
        return found.real, 0.1 / width
    variance = found.imag**2
    for axis in axes:
        others = tuple(other for other in everywhere if other != axis)
        parts = zip(match.sum(axis=others), power.sum(axis=others))
        without = np.array([tilted(total - one, weight - its, found.real) for one, its in parts])
        variance += (without.size - 1) / without.size * float(np.sum(np.abs(without - without.mean()) ** 2)) / 2.0
    return found.real, max(float(np.sqrt(variance)), 0.2e-9)


def _coarse(total: NDArray, frequencies: NDArray[np.float64]) -> float:
    """Delay, on a grid of a quarter of the resolution, at which `total` (tone) adds up best."""
    spacing = float(np.min(np.diff(frequencies)))
    places = np.round(frequencies / spacing).astype(np.intp)
    size = fourier.next_fast_len(4 * int(np.ptp(places) + 1))
    comb = np.zeros(size, complex)
    comb[places % size] = total
    best = int(np.argmax(np.abs(fourier.ifft(comb))))
    return (best if best < size / 2 else best - size) / (size * spacing)


@dataclass(eq=False)
class _Track:
    """One transmitter's state while the capture is taken apart."""

    light: Illumination
    start: float
    cfo_hz: float
    index: NDArray[np.intp]  # symbols wholly inside the capture
    channel: NDArray[np.complex64]  # (rx, tone) static
    phase: NDArray[np.float64]  # (symbol,) rad, on top of the carrier offset


def observe(
    samples: Any, numerology: Numerology, lights: Sequence[Illumination], receivers: Any, carrier_hz: float, *, passes: int = 1
) -> list[Echoes]:
    """Take a capture apart into every transmitter's echoes.

    samples: (rx, sample), any common unit, at least 50 ms of cyclic measuring frames. receivers: (rx, 3) metres, world frame. passes: times
    the other transmitters are subtracted again after the first separation.
    """
    samples = np.ascontiguousarray(samples, dtype=np.complex64)
    receivers = np.asarray(receivers, dtype=float)
    _check(samples, numerology, lights, receivers)
    scale = np.float32(np.sqrt(np.mean(np.abs(samples) ** 2)))
    copies: list[NDArray[np.complex64] | None] = [None] * len(lights)
    tracks: list[_Track | None] = [None] * len(lights)
    tones: list[NDArray[np.complex64]] = [np.zeros(0, np.complex64)] * len(lights)
    rest = samples / scale
    for step in range(passes + 1):
        for number, light in enumerate(lights):
            copy = copies[number]
            if copy is not None:
                rest += copy
            track = tracks[number] or _Track(light, light.start, light.cfo_hz, np.zeros(0, np.intp), np.zeros(0, np.complex64), np.zeros(0))
            tones[number] = _follow(rest, numerology, track, receivers, carrier_hz, first=step == 0, last=step == passes)
            tracks[number] = track
            if len(lights) > 1 and not (step == passes and number == len(lights) - 1):
                fresh = _rebuild(track, numerology, rest.shape, carrier_hz)
                rest -= fresh
                copies[number] = fresh
    return [
        _echoes(track, tone, numerology, receivers, carrier_hz, samples.shape[1], float(scale))
        for track, tone in zip(tracks, tones)
        if track is not None
    ]


def _check(samples: NDArray, numerology: Numerology, lights: Sequence[Illumination], receivers: NDArray) -> None:
    if receivers.shape != (samples.shape[0], 3):
        raise InputError("shape", "one position per receive channel", found=f"{receivers.shape}", allowed=f"({samples.shape[0]}, 3)")
    if not lights:
        raise InputError("no-transmitter", "no transmitter to see a target by", fix="name at least one measuring frame")
    if samples.shape[1] < SHORTEST_S * numerology.sample_rate_hz:
        raise DeviceError(
            "capture-short", "too short to tell a walking target from the walls", found=f"{samples.shape[1]} samples",
            allowed=f">= {int(SHORTEST_S * numerology.sample_rate_hz)} samples ({SHORTEST_S * 1e3:g} ms)", fix="capture more measuring frames",
        )  # fmt: skip
    if not np.all(np.isfinite(samples)) or not np.any(samples):
        raise DeviceError("capture-bad", "nothing or no number in the capture", found="zeros, NaN or infinity", fix="capture again")
    for light in lights:
        antennas = light.antennas.shape[0]
        if light.reference.ndim != 2 or light.precoder.shape != (numerology.blocks, antennas) or light.antennas.shape != (antennas, 3):
            raise InputError(
                "shape", "reference, precoder and antennas disagree",
                found=f"{light.reference.shape}, {light.precoder.shape}, {light.antennas.shape}",
                allowed=f"(symbol, tone), ({numerology.blocks}, antenna), (antenna, 3)",
            )  # fmt: skip


def _begins(track: _Track, numerology: Numerology, carrier_hz: float, index: NDArray[np.intp]) -> tuple[NDArray, NDArray]:
    """Samples, with their fraction, at which symbols begin and at which their useful parts do."""
    pace = 1.0 + track.cfo_hz / carrier_hz  # one oscillator: a high carrier comes with a fast clock, later symbols arrive ever earlier
    begin = track.start + index * numerology.symbol_samples / pace
    return begin, begin + numerology.prefix / pace


def _inside(track: _Track, numerology: Numerology, samples: int, carrier_hz: float) -> NDArray[np.intp]:
    """Numbers of the symbols that lie wholly in the capture."""
    step = numerology.symbol_samples / (1.0 + track.cfo_hz / carrier_hz)
    return np.arange(int(np.ceil((2.0 - track.start) / step)), int(np.floor((samples - 2.0 - track.start) / step)))


def _spin(samples: int, cfo_hz: float, rate: float) -> NDArray[np.complex64]:
    """exp(+j 2 pi cfo t) at every sample, as the product of a coarse and a fine table whose phases are formed in float64."""
    fine = 1024
    step = 2j * np.pi * cfo_hz / rate
    coarse = np.exp(step * fine * np.arange(-(-samples // fine))).astype(np.complex64)
    return np.outer(coarse, np.exp(step * np.arange(fine)).astype(np.complex64)).ravel()[:samples]


def _windows(useful: NDArray, numerology: Numerology) -> NDArray[np.intp]:
    """First samples of the windows that are transformed: half a prefix early."""
    return np.round(useful).astype(np.intp) - numerology.prefix // 2


def _demodulate(samples: NDArray[np.complex64], numerology: Numerology, track: _Track, carrier_hz: float) -> NDArray[np.complex64]:
    """(symbol, rx, tone) with carrier and delay undone; windows begin half a prefix early. Sets the track's symbols."""
    track.index = _inside(track, numerology, samples.shape[1], carrier_hz)
    _, useful = _begins(track, numerology, carrier_hz, track.index)
    first = _windows(useful, numerology)
    rows = np.lib.stride_tricks.sliding_window_view(samples, numerology.fft, axis=1)
    half, undo = numerology.used // 2, ofdm.ramp(numerology, useful - first)
    spin = -2j * np.pi * track.cfo_hz / numerology.sample_rate_hz  # of a window's beginning, and within it
    undo *= np.exp(spin * first).astype(np.complex64)[:, None]
    within = np.exp(spin * np.arange(numerology.fft)).astype(np.complex64)
    tones = np.empty((first.size, samples.shape[0], numerology.used), np.complex64)
    for receiver, of_one in enumerate(rows):
        window = of_one[first]
        window *= within
        spectrum = fourier.fft(window, axis=-1, overwrite_x=True, norm="forward")
        np.multiply(spectrum[:, -half:], undo[:, :half], out=tones[:, receiver, :half])
        np.multiply(spectrum[:, 1 : half + 1], undo[:, half:], out=tones[:, receiver, half:])
    return tones


def _reference(track: _Track) -> NDArray[np.complex64]:
    """(symbol, tone) what was on the air in each received symbol."""
    return track.light.reference[track.index % track.light.reference.shape[0]].astype(np.complex64)


def _cells(values: NDArray) -> NDArray:
    """Sums over the symbols of each whole cell, (symbol, ...) -> (cell, ...)."""
    count = values.shape[0] // CELL
    return values[: count * CELL].reshape(count, CELL, *values.shape[1:]).sum(axis=1)


def _turn(match: NDArray) -> float:
    """Angle by which one entry of the first axis follows the one before."""
    return float(np.angle(np.vdot(match[:-1], match[1:])))


def _follow(
    samples: NDArray[np.complex64], numerology: Numerology, track: _Track, receivers: NDArray, carrier_hz: float, *, first: bool, last: bool
) -> NDArray[np.complex64]:
    """Demodulate one transmitter and renew its carrier, start, phase track and static channel; returns (symbol, rx, tone)."""
    time = numerology.symbol_samples / numerology.sample_rate_hz
    tones = _demodulate(samples, numerology, track, carrier_hz)
    if first:  # the carrier from the turn between neighbouring symbols, then between neighbouring cells
        match = tones * _reference(track).conj()[:, None]
        off = _turn(match) / (2.0 * np.pi * time)
        symbol = np.arange(match.shape[0])
        match *= np.exp(-2j * np.pi * time * off * symbol).astype(np.complex64)[:, None, None]
        off += _turn(_cells(match)) / (2.0 * np.pi * time * CELL)
        if last or abs(off) > ROUGH * numerology.spacing_hz:
            track.cfo_hz += off
            tones = _demodulate(samples, numerology, track, carrier_hz)
        else:  # to be demodulated again anyway: turn the symbols as they are
            middle = _windows(_begins(track, numerology, carrier_hz, track.index)[1], numerology) + numerology.fft / 2.0
            tones *= np.exp(-2j * np.pi * off / numerology.sample_rate_hz * middle).astype(np.complex64)[:, None, None]
            track.cfo_hz += off
    reference = _reference(track)
    power = np.maximum(np.sum(np.abs(reference) ** 2, axis=0), 1e-12)
    match = tones * reference.conj()[:, None]
    cells = _cells(match)
    centre = (np.arange(cells.shape[0]) + 0.5) * CELL - 0.5
    angle = np.zeros(cells.shape[0])
    for _ in range(4):  # every cell's phase against their mean, until the mean is coherent
        mean = np.einsum("crk,c->rk", cells, np.exp(-1j * angle), optimize=True)
        angle = np.angle(np.einsum("crk,rk->c", cells, mean.conj(), optimize=True))
    track.phase = np.interp(np.arange(tones.shape[0]), centre, np.unwrap(angle))
    still = np.exp(-1j * track.phase).astype(np.complex64)
    track.channel = (np.einsum("mrk,m->rk", match, still, optimize=True) / power).astype(np.complex64)
    if first:  # put the start on the direct path, so that the copy's symbol edges fall where they do on the air
        delay = _direct(track, numerology, receivers, carrier_hz)[0]
        track.start += delay * numerology.sample_rate_hz
        turn = np.exp(2j * np.pi * numerology.frequencies_hz * delay).astype(np.complex64)
        tones, track.channel = tones * turn, track.channel * turn
    return tones


def _direct(track: _Track, numerology: Numerology, receivers: NDArray, carrier_hz: float) -> tuple[float, float]:
    """(delay, std) of the direct path in the static channel, mean over all pairs of elements."""
    light = track.light
    weights = light.precoder[numerology.block_of_tone]  # (tone, antenna)
    pairs = direct_response(light.antennas, receivers, numerology.frequencies_hz, carrier_hz)
    if light.sounded is None:
        return direct_delay(track.channel, np.einsum("rnk,kn->rk", pairs, weights), numerology.frequencies_hz)
    predicted = np.einsum("rnk,kn->rk", light.sounded, weights)
    against, fine = direct_delay(track.channel, predicted, numerology.frequencies_hz)
    alone, coarse = direct_delay(light.sounded, pairs, numerology.frequencies_hz)
    return against + alone, float(np.hypot(fine, coarse))


def _rebuild(track: _Track, numerology: Numerology, shape: tuple[int, int], carrier_hz: float) -> NDArray[np.complex64]:
    """(rx, sample) what this transmitter's static channel put into the capture, symbol by symbol, partial ones at the ends included."""
    known = track.index
    index = np.arange(known[0] - 1, known[-1] + 2)
    begin, useful = _begins(track, numerology, carrier_hz, index)
    first = np.ceil(begin).astype(np.intp)
    turn = np.exp(1j * np.interp(index, known, track.phase)).astype(np.complex64)[:, None]
    wave = track.light.reference[index % track.light.reference.shape[0]].astype(np.complex64) * turn * ofdm.ramp(numerology, first - useful)
    lengths = np.diff(np.append(first, first[-1] + numerology.symbol_samples))
    kept = np.arange(lengths.max()) < lengths[:, None]  # (symbol, sample): clocks differ, now and then a symbol is a sample short
    begins, ends = max(int(first[0]), 0), min(int(first[0] + lengths.sum()), shape[1])
    half = numerology.used // 2
    out = np.zeros(shape, np.complex64)
    for receiver, channel in enumerate(track.channel):
        spectrum = np.zeros((index.size, numerology.fft), np.complex64)
        np.multiply(wave[:, :half], channel[:half], out=spectrum[:, -half:])
        np.multiply(wave[:, half:], channel[half:], out=spectrum[:, 1 : half + 1])
        useful_part = fourier.ifft(spectrum, axis=-1, overwrite_x=True, norm="forward")
        symbols = np.concatenate([useful_part, useful_part[:, : kept.shape[1] - numerology.fft]], axis=1)  # from `first` on it is cyclic
        out[receiver, begins:ends] = symbols[kept][begins - first[0] : ends - first[0]]
    out *= _spin(shape[1], track.cfo_hz, numerology.sample_rate_hz)
    return out


def _echoes(
    track: _Track, tones: NDArray[np.complex64], numerology: Numerology, receivers: NDArray, carrier_hz: float, samples: int, scale: float
) -> Echoes:
    """Subtract the static part, average to cells and groups, and refer the delay to the direct path."""
    reference = _reference(track)
    still = np.exp(-1j * track.phase).astype(np.complex64)[:, None, None]
    rest = tones * still - track.channel * reference[:, None]
    late, std = _direct(track, numerology, receivers, carrier_hz)
    turn = np.exp(2j * np.pi * numerology.frequencies_hz * late).astype(np.complex64)
    tone_weight = _cells(np.abs(reference) ** 2)  # (cell, tone)
    group = np.arange(0, numerology.used, GROUP)
    spectra = np.add.reduceat(_cells(rest * reference.conj()[:, None]) * turn, group, axis=-1)
    weight = np.add.reduceat(tone_weight, group, axis=-1)
    begin, _ = _begins(track, numerology, carrier_hz, track.index[: weight.shape[0] * CELL])
    centre = begin.reshape(-1, CELL).mean(axis=1) + numerology.symbol_samples / 2.0
    size = np.diff(np.append(group, numerology.used))
    mean = lambda values: np.add.reduceat(values, group, axis=-1) / size
    return Echoes(
        spectra / weight[:, None] * scale, weight.astype(float), (centre - samples / 2.0) / numerology.sample_rate_hz,
        mean(numerology.frequencies_hz), numerology.block_of_tone[group], np.asarray(track.light.precoder, complex), track.light.antennas,
        mean(track.channel * turn).astype(complex) * scale, std, track.cfo_hz, np.interp(centre, begin, track.phase[: begin.size]),
        sent_error=track.light.sent_error,
    )  # fmt: skip
