"""Where a station's own frame begins: to a hundredth of a sample under its neighbours' signals, and losses seen."""

from __future__ import annotations

import numpy as np
import pytest

from hil.errors import HilError
from hil.estimate.ownframe import begins


def capture(rng: np.random.Generator, start: float, *, turn: int = 4096, turns: float = 3.4, other: float = 1.0, delay: float = 0.0):
    """Six antennas heard by four receivers through one tap each, beside a stranger of `other` times the power; band-limited to 3/4."""
    used = np.abs(np.fft.fftfreq(turn)) < 0.375
    draw = lambda rows: np.fft.ifft(np.fft.fft(rng.standard_normal((rows, turn, 2)) @ [1, 1j]) * used)
    sent, strange = draw(6), draw(3)
    late = np.fft.ifft(np.fft.fft(sent) * np.exp(-2j * np.pi * np.fft.fftfreq(turn) * (start + delay)))
    mix = rng.standard_normal((4, 6, 2)) @ [1, 1j]
    foreign = np.sqrt(other) * (rng.standard_normal((4, 3, 2)) @ [1, 1j])
    count = int(turn * turns)
    heard = np.tile(mix @ late + np.sqrt(2) * foreign @ strange, (1, int(turns) + 1))[:, :count]
    return heard + 0.1 * (rng.standard_normal((4, count, 2)) @ [1, 1j]), sent


@pytest.mark.parametrize("start", [0.0, 17.25, 4095.6])
def test_the_start_is_found_to_a_hundredth_of_a_sample(start):
    samples, sent = capture(np.random.default_rng(1), start)
    found = begins(samples, sent)
    assert abs((found.start - start + 2048) % 4096 - 2048) < 0.02


def test_samples_that_are_missing_in_one_turn_are_seen():
    samples, sent = capture(np.random.default_rng(2), 100.0)
    with pytest.raises(HilError) as error:
        begins(np.delete(samples, slice(6000, 6040), axis=1), sent)
    assert error.value.id == "samples-lost"


def test_silence_is_no_frame():
    rng = np.random.default_rng(3)
    _, sent = capture(rng, 0.0)
    with pytest.raises(HilError) as error:
        begins(rng.standard_normal((4, 10_000, 2)) @ [1, 1j], sent)
    assert error.value.id == "no-preamble"
    with pytest.raises(HilError) as error:
        begins(np.ones((4, 5000), complex), sent)
    assert error.value.id == "capture-short"
