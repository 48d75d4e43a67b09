"""What of a capture may be used: the frame found in it, no sample missing, nothing stale. What is spoilt is taken once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from hil.device import Capture
from hil.errors import HilError
from hil.estimate import carrier, loss, marks
from hil.estimate.carrier import Carrier
from hil.estimate.loss import Clean
from hil.loop.lab import Lab, Taken
from hil.waveform.frame import Frame

SPOILT = frozenset({"samples-lost", "no-preamble", "capture-short", "capture-unusable", "wrong-reference"})  # worth another capture


def intact(capture: Capture, frame: Frame, near_hz: float | None = None, least_symbols: int | None = None) -> Clean:
    """The longest stretch of a capture in which no sample is missing, and where the frame lies in it.

    near_hz: carrier offset as last heard; a search near it that finds nothing is made again everywhere. least_symbols: that the stretch must
    hold, a whole frame unless said otherwise. Raises HilError with one of `SPOILT` for a capture from which nothing should be estimated.
    """
    found = carrier.acquire(capture, frame, near_hz=near_hz)
    if near_hz is not None and not found.above_threshold:
        found = carrier.acquire(capture, frame)
    whole = loss.clean(capture, frame, found)
    least = (least_symbols or frame.symbols) + 1
    long = whole.capture.samples.shape[-1] // frame.numerology.symbol_samples
    if long < least:
        raise HilError("samples-lost", "no stretch without a loss is long enough", where=capture.device,
                       found="; ".join((f"{long} symbols", *map(str, whole.jumps))), allowed=f"{least} symbols in a row",
                       fix="capture again; fewer channels or a lower rate if it goes on")  # fmt: skip
    return whole


def of_version(whole: Clean, frame: Frame, version: int, before: Iterable[int]) -> Carrier:
    """Its carrier, if its marks are of `version`; HilError `wrong-reference` where they are of one pushed `before`, or of none of them."""
    found = carrier.refine(whole.capture, frame, whole.acquisition)
    marks.check(whole.capture, frame, found, [version, *before]).expect(version, whole.capture.device)
    return found


def sifted(lab: Lab, takes: Mapping[str, Taken], look: Callable[[Taken], Clean]) -> tuple[dict[str, Clean], list[str]]:
    """(what is intact, by the capture's name; radios whose capture must be taken again), as `look` finds them; both said as warnings."""
    kept, again = {}, []
    for radio, taken in takes.items():
        try:
            kept[taken.name] = whole = look(taken)
        except HilError as error:
            if error.id not in SPOILT:
                raise
            again.append(radio)
            lab.event("warned", id=error.id, message=f"{taken.name}: {error.what}; it is taken once more", device=radio, found=error.found,
                      allowed=error.allowed, fix=error.fix)  # fmt: skip
            continue
        if whole.jumps:
            told = "; ".join(map(str, whole.jumps))
            lab.event("warned", id="samples-lost", message=f"{taken.name}: {told}; the longest stretch without is used", device=radio)
    return kept, again
