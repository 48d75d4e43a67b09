"""Carriers brought onto frequency: the parts of a correction add up to the whole, and shifts by arithmetic have the right sign and size."""

from __future__ import annotations

import numpy as np
import pytest

from hil.device import Capture
from hil.radios import trim

RATE = 15.36e6


def tone(hz: float, samples: int = 15360) -> np.ndarray:
    return np.exp(2j * np.pi * hz / RATE * np.arange(samples)).astype(np.complex64)[None]


def frequency(samples: np.ndarray) -> float:
    """Hertz, from the phase that passes from each sample to the next."""
    return float(np.angle(np.vdot(samples[0, :-1], samples[0, 1:])) * RATE / (2 * np.pi))


def test_a_synthesiser_s_step_is_that_of_the_data_sheet() -> None:
    assert trim.step_hz(2.4e9) == pytest.approx(2.4, abs=0.05)  # "2.4 Hz maximum"
    assert trim.step_hz(3.5e9) == pytest.approx(4.77, abs=0.01)
    assert trim.step_hz(6e9) == trim.step_hz(5.9e9) * 2.0


@pytest.mark.parametrize("offset", [0.0, 1.0, -777.0, 4321.0, -30e3])
@pytest.mark.parametrize("reference", [None, 40_000_000])
def test_the_parts_of_a_correction_add_up(offset: float, reference: int | None) -> None:
    carrier, step = 3.5e9, trim.step_hz(3.5e9)
    plan = trim.planned(carrier, offset, reference, (39_000_000, 41_000_000) if reference else None, step)
    told = 0.0 if reference is None else carrier * (plan.reference_hz / reference - 1.0)
    assert told + (carrier - plan.carrier_hz) + plan.rest_hz == pytest.approx(offset, abs=1e-3)
    assert abs(plan.rest_hz) <= step / 2 + 1e-3
    if reference is not None:
        assert abs(carrier - plan.carrier_hz) <= carrier / reference  # less than one step of the reference is left to the synthesiser


def test_a_reference_is_not_told_more_than_it_takes() -> None:
    plan = trim.planned(3.5e9, 1e6, 40_000_000, (39_999_000, 40_001_000), trim.step_hz(3.5e9))
    assert plan.reference_hz == 40_001_000 and 3.5e9 - plan.carrier_hz == pytest.approx(1e6 - 3.5e9 * 1000 / 40e6, abs=3.0)


def test_a_capture_is_moved_down_by_what_its_carrier_was_too_low() -> None:
    capture = Capture.of(tone(1000.0), rate=RATE, carrier=3.5e9, device="a")
    moved = trim.derotated(capture, 1000.0)
    assert np.abs(moved.samples - 1.0).max() < 1e-5 and moved.device == "a"


def test_phase_stays_exact_over_millions_of_samples() -> None:
    capture = Capture.of(np.ones((1, 3_000_000), np.complex64), rate=RATE, carrier=3.5e9)
    end = trim.derotated(capture, 1.2345).samples[0, -1]
    assert abs(end - np.exp(-2j * np.pi * 1.2345 / RATE * 2_999_999)) < 1e-6


def test_a_cyclic_waveform_still_closes() -> None:
    whole = tone(RATE / 1536 * 3, 1536)
    moved, by = trim.closed(whole, RATE, 700.0, 1 << 20)
    assert abs(by - 700.0) < RATE / (1 << 20)
    assert abs(frequency(moved) - (3 * RATE / 1536 + by)) < 1e-2
    seam = np.angle(moved[0, 0] / moved[0, -1])
    assert seam == pytest.approx(2 * np.pi * (3 / 1536 + by / RATE), abs=1e-5)  # the step from end to beginning is like any other


def test_a_cycle_that_may_not_be_repeated_moves_in_whole_steps() -> None:
    moved, by = trim.closed(tone(0.0, 1536), RATE, 11e3, 1536)
    assert moved.shape == (1, 1536) and by == pytest.approx(RATE / 1536)
