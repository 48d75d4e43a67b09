"""Whether a capture can be used at all: asked before anything is estimated from it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hil.device import Capture
from hil.errors import HilError
from hil.estimate.spurs import remove

CLIPPED_NOTED = 0.01  # share of samples at the rails from which estimates say so
CLIPPED_REFUSED = 0.05  # and from which channel and EVM refuse
SATURATED = 0.5  # and from which nothing is estimated: the level is above the rails
DC_LINE = 4.0  # how far DC must stand above the strongest line beside it


def samples_of(capture: Capture, least: int, rate: float) -> NDArray[np.complex64]:
    """(channel, sample), read only, without the receiver's DC, removed here before any derotation moves it to -cfo.

    Raises HilError `capture-unusable` for a capture that is empty, shorter than `least`, not finite, all zero, saturated or of another sample
    rate.
    """
    samples = np.atleast_2d(capture.samples)
    reason = allowed = fix = ""
    if samples.shape[-1] < least:
        reason, allowed, fix = f"{samples.shape[-1]} samples", f"{least} or more", "capture at least two frames and one symbol"
    elif abs(capture.sample_rate_hz - rate) > 1.0:
        reason, allowed, fix = f"{capture.sample_rate_hz:.0f} samples/s", f"{rate:.0f}, the waveform's", "configure both alike"
    elif not np.all(np.isfinite(samples)):
        reason, allowed, fix = "samples that are not finite", "finite samples", "look at the driver or the file they came from"
    elif np.any(np.all(samples == 0, axis=-1)):
        reason, allowed, fix = "a channel that is all zero", "a live signal", "check cable, channel enable and gain"
    elif capture.clipped > SATURATED:
        reason, allowed, fix = f"{capture.clipped:.0%} of samples at the rails", f"{SATURATED:.0%}", "lower the receive gain"
    if reason:
        raise HilError("capture-unusable", "this capture cannot be used", where=capture.device, found=reason, allowed=allowed, fix=fix)
    return _without_dc(capture)


@lru_cache(maxsize=2)  # acquisition, tracking, refinement and channel ask for the same capture in turn, on two threads
def _without_dc(capture: Capture) -> NDArray[np.complex64]:
    samples = remove(np.atleast_2d(capture.samples), capture.sample_rate_hz, 0.0, DC_LINE)[0]
    samples.flags.writeable = False
    return samples


def refuse_clipped(capture: Capture) -> None:
    """Raises HilError for a capture so clipped that channel and error vector mean nothing."""
    if capture.clipped > CLIPPED_REFUSED:
        raise HilError("capture-clipped", "the receiver was overdriven", where=capture.device,
                       found=f"{capture.clipped:.1%} of samples at the rails", allowed=f"{CLIPPED_REFUSED:.0%}",
                       fix="lower the receive gain")  # fmt: skip


def assumptions_of(capture: Capture) -> tuple[str, ...]:
    return ("clipped",) if capture.clipped > CLIPPED_NOTED else ()
