"""One device's frame as a receiver gets it, with the truth: exactly synthesised, or through the emulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hil.clock import VirtualClock
from hil.device import Capture, Setting
from hil.estimate.acquisition import Acquisition
from hil.estimate.bounds import carrier_bounds
from hil.estimate.channel import ToneChannel
from hil.waveform import Numerology, SoundingFrame, amplitude, ofdm
from hil.waveform.frame import Frame
from sim_backend.world import build
from tests.physics import sites
from tests.physics.synthetic import received, tone_channel

CARRIER = 3.5e9


@dataclass(frozen=True, eq=False)
class Signal:
    """cfo: hertz; start: sample of the capture at which the frame arrives; snr: per used tone, mean over the tones; frame: what was sent."""

    capture: Capture
    frame: Frame
    cfo: float
    start: float
    snr: float

    def near(self, rng: np.random.Generator) -> Acquisition:
        """What an acquisition would say: the nearest sample, the carrier to 300 Hz."""
        return Acquisition(float(round(self.start)), self.cfo + 300.0 * rng.standard_normal(), 1.0, 0.0)

    def delay_at(self, seconds: float) -> float:
        """Seconds after the capture's first sample at which frame sample 0 arrives, for the clocks `seconds` after it."""
        return (1.0 + self.cfo / CARRIER) * self.start / self.frame.numerology.sample_rate_hz - self.cfo / CARRIER * seconds

    def whole_symbols(self) -> int:
        return len(ofdm.whole_symbols(self.frame.numerology, self.capture.samples.shape[-1], self.start, self.cfo / CARRIER))

    def bound(self, symbols: int) -> float:
        """Hertz, of the carrier."""
        return carrier_bounds(self.frame.numerology, symbols, self.snr).cfo_hz


def echoes(rng: np.random.Generator, numerology: Numerology) -> tuple[np.ndarray, np.ndarray]:
    """Gains (path,) and delays (path,) of three paths of 0, -3 and -6 dB within 150 ns, random phases, unit mean power over the tones: a
    narrow band would fade as a whole."""
    gains = 10.0 ** (-0.15 * np.arange(3)) * np.exp(2j * np.pi * rng.random(3))
    delays = np.concatenate([[0.0], np.sort(rng.uniform(0.0, 150e-9, 2))])
    response = np.exp(-2j * np.pi * np.outer(numerology.frequencies_hz, delays)) @ gains
    return gains / np.sqrt(np.mean(np.square(np.abs(response)))), delays


def cable(frame: Frame, rng: np.random.Generator, *, snr_db: float, cfo: float, start: float, gains=(1.0,), delays=(0.0,),
          samples: int | None = None) -> Signal:  # fmt: skip
    """One antenna to one receiver over the paths given. snr_db: per used tone for paths of unit power; the signal's own tones decide."""
    n, sent = frame.numerology, frame.samples()
    noise = float(np.mean(np.abs(sent) ** 2)) * n.fft / n.used / 10.0 ** (snr_db / 10.0)
    y = received(sent, np.asarray(gains, complex).reshape(1, 1, -1), np.asarray(delays), rate=n.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=cfo,
                 start=start, samples=samples or 2 * frame.length + n.symbol_samples, rng=rng, noise=noise,
                 phase=rng.uniform(0.0, 2.0 * np.pi))  # fmt: skip
    response = np.exp(-2j * np.pi * np.outer(n.frequencies_hz, delays)) @ np.asarray(gains)
    tone = float(np.mean(np.abs(frame.known) ** 2)) / (noise / n.fft)
    snr = tone * float(np.mean(np.abs(response) ** 2))
    return Signal(Capture.of(y, rate=n.sample_rate_hz, carrier=CARRIER), frame, cfo, start, snr)


def walked(capture: Capture, rate: float, rng: np.random.Generator) -> Capture:
    """The capture with a Wiener phase of `rate` rad^2/s on all channels."""
    count = capture.samples.shape[-1]
    walk = np.cumsum(rng.standard_normal(count)) * np.sqrt(rate / capture.sample_rate_hz)
    return replace(capture, samples=(capture.samples * np.exp(1j * walk)).astype(np.complex64))


def emulated(frame: Frame, seed: int, severity: float, gain: float = 30.0) -> Signal:
    """10 m of air without echoes between two emulated radios; with severity 0 all but thermal noise and constant clock errors is ideal.

    cfo: at the capture's middle, in the receiver's seconds; start is not told.
    """
    ideal = {"class": "perfect", "spread_ppm": 3.0} if severity == 0.0 else {}
    site = sites.pair({"severity": severity, "oscillator": ideal} if severity == 0.0 else {"severity": severity}, transmit=1, receive=1, seed=seed)
    world = build(site, VirtualClock())
    n, samples = frame.numerology, frame.samples()
    sender, receiver = world.radio("a"), world.radio("b")
    attenuation = amplitude.choose_attenuation(samples, sender.capability)
    sender.configure(Setting(CARRIER, n.sample_rate_hz, (), (attenuation,)))
    receiver.configure(Setting(CARRIER, n.sample_rate_hz, (gain,), ()))
    sender.load(1, amplitude.to_fractions(samples, sender.capability, attenuation))
    sender.apply(1)
    world.clock.sleep(5e-3)
    length = 2 * frame.length + n.symbol_samples
    capture = receiver.capture(length, 1.0)
    middle = capture.clock.after(length / 2 / n.sample_rate_hz) if capture.clock else world.now
    transmitter, own = (world.truth.oscillator(name, middle)[1] for name in ("a", "b"))
    return Signal(capture, frame, CARRIER * (transmitter - own) / (1.0 + own), float("nan"), float("nan"))


@dataclass(frozen=True, eq=False)
class Sounded:
    """One sounding capture through three Rayleigh paths per antenna, and its estimate. noise: per tone, true."""

    capture: Capture
    frame: SoundingFrame
    gains: np.ndarray
    delays: np.ndarray
    cfo: float
    start: float
    noise: float

    @classmethod
    def of(cls, rng: np.random.Generator, numerology: Numerology, antennas: int, pilots: int, snr_db: float, *, gains: np.ndarray | None = None,
           delays: np.ndarray | None = None, frames: int = 1) -> Sounded:  # fmt: skip
        """snr_db: of an antenna's power over all tones against the noise, per tone, for a channel of unit gain."""
        frame = SoundingFrame(numerology, 1, 5, antennas, 1.0, pilots, max(pilots + 4, 28))
        if gains is None:
            gains = (rng.standard_normal((2, antennas, 3)).T @ [1.0, 1j]).T[None] / np.sqrt(6.0)
            delays = np.array([0.0, *np.sort(rng.uniform(0.0, 150e-9, 2))])
        cfo, start, noise = rng.uniform(-10e3, 10e3), rng.uniform(0.0, 200.0), 1.0 / numerology.used / 10.0 ** (snr_db / 10.0)
        y = received(frame.samples(), gains, np.asarray(delays), rate=numerology.sample_rate_hz, carrier_hz=CARRIER, cfo_hz=cfo, start=start,
                     samples=frames * frame.length + 300, rng=rng, noise=noise * numerology.fft, phase=rng.uniform(0.0, 2.0 * np.pi))  # fmt: skip
        return cls(Capture.of(y, rate=numerology.sample_rate_hz, carrier=CARRIER), frame, gains, np.asarray(delays), cfo, start, noise)

    def delay_at(self, seconds: float) -> float:
        """Seconds after the first sample at which frame sample 0 arrives over a path without delay."""
        return (1.0 + self.cfo / CARRIER) * self.start / self.frame.numerology.sample_rate_hz - self.cfo / CARRIER * seconds

    def truth(self, got: ToneChannel) -> np.ndarray:
        """(channel, tone, antenna) at the estimate's delay reference, turned by the one phase that nobody can know."""
        n = self.frame.numerology
        late = got.delay_s - self.delay_at(got.centre_s)
        h = tone_channel(n, self.gains, self.delays) * np.exp(2j * np.pi * n.frequencies_hz * late)[:, None]
        return h * np.exp(1j * np.angle(np.vdot(h, got.value)))
