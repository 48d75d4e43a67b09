"""Spectra of captures: power at the port per hertz."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import RecordError
from hil.records import Run
from hil.report.facts import NONE

SEGMENT = 512  # samples of a spectrum's segment: a tone's width at 15.36 MS/s


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Power density of one capture. hertz, density: (bin,), density in W/Hz at the port, or in full scales per hertz where `unit` says so."""

    hertz: NDArray[np.float64]
    density: NDArray[np.float64]
    unit: str

    def power(self, low: float, high: float) -> float:
        """Watts between two frequencies, hertz."""
        step = self.hertz[1] - self.hertz[0]
        return float(np.sum(self.density[(self.hertz >= low) & (self.hertz < high)]) * step)

    @property
    def db(self) -> NDArray[np.float64]:
        """(bin,) dBm/Hz, or dBFS/Hz."""
        return decibels(self.density) + (30.0 if self.unit == "dBm" else 0.0)


def welch(samples: NDArray[Any], rate: float, size: int = SEGMENT) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(hertz, density per hertz) of complex samples, ascending: mean periodogram of half-overlapping Hann segments (Welch 1967)."""
    size = min(size, len(samples))
    starts = np.arange(0, len(samples) - size + 1, max(1, size // 2))
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)
    total = np.zeros(size)
    for some in np.array_split(starts, max(1, len(starts) // 256)):  # a few segments at a time: long captures stay small
        segments = samples[some[:, None] + np.arange(size)] * window
        total += np.sum(np.abs(np.fft.fft(segments, axis=-1)) ** 2, axis=0)
    density = total / (len(starts) * rate * np.sum(window**2))
    return np.fft.fftshift(np.fft.fftfreq(size, 1.0 / rate)), np.fft.fftshift(density)


def of_capture(run: Run, channel: int, **which: Any) -> tuple[Spectrum | None, float]:
    """The last capture of a kind as a spectrum, and the share of it that clipped. None where there is none, or its data is not there."""
    events = run.of("captured", **which)
    if not events:
        return None, NONE
    clipped = float(events[-1].get("clipped") or 0.0)
    try:
        capture = run.capture(events[-1]["file"])
    except (RecordError, OSError):
        return None, clipped
    if capture.samples.shape[-1] < 16:
        return None, clipped
    hertz, density = welch(capture.samples[channel], capture.sample_rate_hz)
    opened = run.of("opened", device=which["device"])
    full = opened[-1].get("receive_full_scale_dbm") if opened else None
    if full is None:
        return Spectrum(hertz, density, "dBFS"), clipped
    return Spectrum(hertz, density * 10.0 ** ((full - capture.gain_db[channel]) / 10.0) * 1e-3, "dBm"), clipped


def band(run: Run, spectrum: Spectrum) -> tuple[float, float]:
    """(half of the used band, end of what was sampled), hertz either side of the carrier; the band is one bin wider for the window."""
    end = -float(spectrum.hertz[0])
    step = float(spectrum.hertz[1] - spectrum.hertz[0])
    used = run.scenario.get("signal", {}).get("used_bandwidth_hz")
    return (end if used is None else min(end, 0.5 * float(used) + 1.5 * step)), end


def decibels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of powers."""
    return 10.0 * np.log10(np.maximum(values, 1e-300))
