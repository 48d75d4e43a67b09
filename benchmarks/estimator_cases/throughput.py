"""How many samples of a receive channel one core estimates from: carrier, arrival and 16 element channels of a frame that is followed.

A capture of two frames and a symbol (six frames at N = 128), the carrier known to 2 Hz, processor time of one thread, best of many. Beside
it: the same in plain numpy, a loop over antennas in double precision; the route that looks for lobes, losses and interference
(`carrier.refine`, `channel.estimate`); and acquisition of a frame anywhere within 40 ppm.
"""

from __future__ import annotations

import numpy as np

from benchmarks.estimator_cases import Row, told
from benchmarks.turns import interleaved
from hil.device import Capture
from hil.estimate import acquisition, carrier, channel, usable
from hil.estimate.follow import Followed, Follower
from hil.waveform import Numerology, SoundingFrame

CARRIER = 3.5e9
GRIDS = ((15.36e6, 11.52e6, 16, 16, 28, 2), (30.72e6, 23.04e6, 16, 16, 28, 2), (4.0e6, 3.0e6, 2, 8, 28, 6))
CFO, START = 700.0, 100.3
BAR = 60.0  # MS/s


def heard(frame: SoundingFrame, frames: int, rng: np.random.Generator) -> Capture:
    """Single paths of random gain, 20 dB, the clock slow enough (0.2 ppm) that its drift is a phase ramp over the turns of the buffer."""
    n = frame.numerology
    length = frames * frame.length + n.symbol_samples
    gains = rng.standard_normal((2, frame.antennas)).T @ [1.0, 1j] / np.sqrt(2)
    frequency = np.fft.fftfreq(frame.length)
    late = np.fft.ifft(np.fft.fft(gains @ frame.samples()) * np.exp(-2j * np.pi * frequency * START))
    wave = np.resize(late, length) * np.exp(2j * np.pi * CFO / n.sample_rate_hz * np.arange(length))
    noise = np.sqrt(np.mean(np.abs(wave) ** 2) * n.fft / n.used / 200.0) * (rng.standard_normal((2, length)).T @ [1.0, 1j])
    return Capture.of(wave + noise, rate=n.sample_rate_hz, carrier=CARRIER)


def plain(capture: Capture, frame: SoundingFrame, start: float, cfo: float) -> tuple[float, int, np.ndarray]:
    """Carrier by Newton, delay from the profiles' maximum, element channels: one symbol and one antenna at a time."""
    n, y = frame.numerology, capture.samples[0].astype(np.complex128)
    y = y * np.exp(-2j * np.pi * cfo / n.sample_rate_hz * np.arange(y.size))
    first = int(np.ceil(-start / n.symbol_samples))
    index = np.arange(first, int((y.size - start) // n.symbol_samples))
    begins = np.round(start + index * n.symbol_samples + n.prefix // 2).astype(int)
    index, begins = index[(begins >= 0) & (begins + n.fft <= y.size)], begins[(begins >= 0) & (begins + n.fft <= y.size)]
    Z = np.empty((len(index), n.used), complex)
    for m, (i, begin) in enumerate(zip(index, begins)):
        late = start + i * n.symbol_samples + n.prefix - begin
        Z[m] = np.fft.fft(y[begin : begin + n.fft])[n.bins] / n.fft * np.exp(2j * np.pi * n.tones * late / n.fft)
        Z[m] *= frame.known[i % frame.symbols].conj()
    turn, t = index % frame.symbols, (begins - begins.mean()) / n.sample_rate_hz
    slope = bend = 0.0
    for group in np.unique(frame.groups):
        mine = frame.groups[turn] == group
        S0, S1, S2 = ((Z[mine] * t[mine, None] ** i).sum(0) for i in range(3))
        E = (np.abs(frame.known[turn[mine]]) ** 2).sum(0)
        slope += np.sum(np.imag(S0.conj() * S1) / E)
        bend += np.sum((np.abs(S1) ** 2 - np.real(S0.conj() * S2)) / E)
    w = -slope / bend
    Z *= np.exp(-1j * w * t)[:, None]
    H = np.zeros((n.used, frame.antennas), complex)
    for antenna in range(frame.antennas):
        energy = np.zeros(n.used)
        for m in np.flatnonzero(np.isin(turn, frame.pilots)):
            mine = frame.antenna_of(turn[m] - frame.pilots[0]) == antenna
            H[mine, antenna] += Z[m, mine]
            energy[mine] += np.abs(frame.known[turn[m], mine]) ** 2
        H[:, antenna] /= energy
    profile = (np.abs(np.fft.ifft(H, 8 * n.fft, axis=0)) ** 2).sum(1)
    return cfo + w / (2 * np.pi), int(np.argmax(profile)), H


def run(trials: int, rng: np.random.Generator) -> list[Row]:
    """trials: repetitions, a fifth of them at most two hundred."""
    rows, times = [], int(np.clip(trials // 5, 5, 200))
    for rate, used, antennas, pilots, symbols, frames in GRIDS:
        n = Numerology(rate, used)
        frame = SoundingFrame(n, 0, 1, antennas, 1.0, pilots, symbols)
        capture, follow = heard(frame, frames, rng), Follower(frame, antennas)
        near = acquisition.Acquisition(START - 0.05, CFO - 2.0, 1.0, 0.0)

        def searched(capture=capture, frame=frame, near=near):
            usable._without_dc.cache_clear()
            fit = carrier.refine(capture, frame, near)
            return fit, channel.estimate(capture, frame, fit, window_s=None, track_phase=False)

        def followed(capture=capture, follow=follow) -> Followed:
            return follow(capture, START - 0.05, CFO - 2.0)

        def textbook(capture=capture, frame=frame):
            return plain(capture, frame, START - 0.05, CFO - 2.0)

        assert followed().holds and abs(followed().cfo_hz - textbook()[0]) < 5.0 * followed().variance**0.5
        (fast,) = interleaved([followed], times)
        slow, book = interleaved([searched, textbook], max(3, times // 40))
        (found,) = interleaved([lambda capture=capture, frame=frame: carrier.acquire(capture, frame)], max(2, times // 60))
        samples = capture.samples.shape[-1]
        what = f"N = {n.fft}, {antennas} elements, {symbols} symbols, {samples} samples"
        speed = [samples / seconds / 1e6 for seconds in (fast, book, slow, found)]
        rows += [
            told(f"{what}: followed, MS/s per receive channel", speed[0], at_least=BAR, trials=times, seconds=fast),
            told(f"{what}: plain numpy, MS/s", speed[1], seconds=book),
            told(f"{what}: searched and tested (refine, estimate), MS/s", speed[2], seconds=slow),
            told(f"{what}: acquisition within 40 ppm, MS/s", speed[3], seconds=found),
        ]
    return rows
