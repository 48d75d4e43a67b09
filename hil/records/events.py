"""The event stream: which events there are, what their fields mean, and how one becomes a line.

A line is one JSON object: n, t, event, round, the event's fields in alphabetical order, crc. No wall clock, run name or absolute path
stands in it, so two runs of one seed in virtual time compare equal. `EVENTS` is the only list of events and fields; a name that is not
in it is refused, and `docs/events.md` is made from it. Within v1 fields may be added, never changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any
from zlib import crc32

import numpy as np

from hil.clock import Instant

FORMAT = "hil.events.v1"

FIELDS_OF_ALL: dict[str, tuple[str, str]] = {
    "n": ("", "count of lines from 0"),
    "t": ("s", "on the run's clock"),
    "event": ("", "which of the events below"),
    "round": ("", "from 0; null outside rounds"),
    "crc": ("", "CRC-32 of the line without this field; a last line that fails it is dropped with a warning"),
}

_DESIGNER = ("", "designer or baseline this belongs to; absent where there is none")

EVENTS: dict[str, dict[str, tuple[str, str]]] = {
    "started": {
        "format": ("", f"{FORMAT}"),
        "seed": ("", "of all randomness of this run"),
        "depth": ("", "process, nodes, device or air"),
        "designer": ("", "who designs the rounds from 1 on"),
        "baselines": ("", "designers pushed and measured as round 0"),
    },
    "state": {
        "from": ("", "idle, exploring, sounding, estimating, designing, moving, settling, loading, measuring or safe"),
        "to": ("", "one of the same words"),
        "why": ("", "what ended the state before"),
        "designer": _DESIGNER,
    },
    "ended": {
        "how": ("", "converged, limit, done (of tasks), interrupted, fault or safe"),
        "muted": ("", "true: every transmitter was silenced and said so"),
        "at_rest": ("", "true: no stage was moving"),
    },
    "opened": {
        "device": ("", "name in testbed.toml"),
        "serial": ("", "identity, as the device told it"),
        "profile": ("", "profile that was applied"),
        "differences": ("", "settings that did not become what was asked: list of setting, asked, became, tolerance"),
        "node": ("", "node that owns the device"),
        "part": ("", "part of the profile: pluto, fmcomms5, grbl-1.1, ..."),
        "firmware": ("", "version, as the device told it"),
        "capability": ("", "of a radio: what it says it can do, field by field"),
        "axes": ("m", "of a stage: axis -> reading"),
        "std": ("m", "of axes"),
        "receive_full_scale_dbm": ("dBm", "a radio's: power at the port that fills the converter at 0 dB gain; absent for stages"),
    },
    "levelled": {
        "device": ("", "receiver whose gain was set by the level step"),
        "gain_db": ("dB", "per receive channel, as read back"),
        "peak_dbfs": ("dB", "largest sample of the last level capture re full scale, per receive channel"),
    },
    "calibrated": {
        "what": ("", "sync, amplifier, array, channel, noise, motion or power"),
        "of": ("", "device and port, or pair of devices"),
        "record": ("", "record in force, or `run` when measured within the run"),
        "until": ("UTC", "end of its validity"),
        "drift_sigma": ("", "check against the record, in its standard deviations"),
    },
    "captured": {
        "file": ("", "data file in the run folder"),
        "sha512": ("", "of the data file"),
        "device": ("", "radio that captured"),
        "purpose": ("", "sound, explore, measure or idle"),
        "samples": ("", "per channel"),
        "version": ("", "of the transmission in force on the device's own node; null: unknown"),
        "positions": ("m", "(channel, xyz) of the device's antennas in the world"),
        "loss": ("", "none, some or unknown"),
        "clipped": ("", "fraction of samples at the converter's rails"),
        "transmitter": ("", "radio that was sending, where it was one alone"),
        "designer": _DESIGNER,
    },
    "estimated": {
        "what": ("", "carrier, timing, channel, noise, paths, target, ..."),
        "of": ("", "what it was estimated of: device, pair or target"),
        "value": ("", "in `unit`; complex numbers as [re, im]"),
        "unit": ("", "of value, std and bound_std"),
        "std": ("", "standard deviations, in `unit`"),
        "bound_std": ("", "Cramer-Rao bound of std, in `unit`"),
        "above_threshold": ("", "false: kept for the record, used in no set"),
        "assumes": ("", "list of assumptions"),
        "from": ("", "captures it was made from"),
        "residual_test": ("", "residual energy over its degrees of freedom; 1 when the model holds"),
        "designer": _DESIGNER,
    },
    "bounded": {
        "what": ("", "quantity the set is of"),
        "of": ("", "device, pair or target"),
        "shape": ("", "ball, box, disc or ellipsoid"),
        "size": ("", "radius, half widths or semi-axes, in `unit`"),
        "unit": ("", "of size"),
        "confidence": ("", "of all sets together"),
        "age": ("s", "of the oldest estimate in it when it will be used"),
        "bound_size": ("", "the same set made of the Cramer-Rao bound of the estimate alone, in `unit`"),
        "parts": ("", "what `size` is the sum of, mean over the blocks, in `unit`: by name, as noise, moving"),
        "designer": _DESIGNER,
    },
    "mapped": {
        "file": ("", "fields/*.npz: channel along one rail as predicted, and where it was measured"),
        "transmitter": ("", "array whose rail it is"),
        "user": ("", "far end"),
        "paths": ("", "paths fitted"),
        "residual_db": ("dB", "fit residual re the channel's power, at positions left out of the fit"),
    },
    "designed": {
        "version": ("", "of the transmission, counted up by one per push"),
        "step": ("", "positions (on predicted channels) or precoders (on measured ones)"),
        "objective": ("", "what is made best: sinr, rate, crlb, ..."),
        "unit": ("", "of objective, promised, predicted and bound"),
        "better": ("", "up or down"),
        "designer": _DESIGNER,
        "file": ("", "designs/*.npz"),
        "promised": ("", "worst case over what is uncertain"),
        "predicted": ("", "at the estimate"),
        "bound": ("", "no design at these positions passes it; null: none"),
        "bound_anywhere": ("", "loose: no design at any positions passes it; null: none"),
        "steps": ("", "work done"),
        "stopped": ("", "why the designer stopped"),
        "infeasible": ("", "true: no design meets the constraints"),
        "achievable": ("", "best objective that can be had, when infeasible"),
    },
    "judged": {
        "version": ("", "as designed"),
        "designer": _DESIGNER,
        "worst": ("", "objective at the worst member found, in `unit`"),
        "unit": ("", "of worst and shortfall"),
        "shortfall": ("", "promise less worst where positive; 0: the promise stands"),
        "members": ("", "members of the set tried"),
        "pass": ("", "true: the promise stands"),
    },
    "prepared": {
        "version": ("", "loaded everywhere, on the air nowhere"),
        "nodes": ("", "names"),
        "power_dbm": ("dBm", "per node and transmit channel"),
        "refused": ("", "node that refuses"),
        "limit": ("", "what it permits"),
        "asked": ("", "what it was asked"),
        "designer": _DESIGNER,
    },
    "applied": {
        "version": ("", "on the air now"),
        "nodes": ("", "names"),
        "power_dbm": ("dBm", "per node and transmit channel"),
        "designer": _DESIGNER,
    },
    "muted": {"nodes": ("", "names of those that are silent"), "version": ("", "that left the air")},
    "moved": {
        "stage": ("", "name in testbed.toml"),
        "axis": ("", "of the stage"),
        "from": ("m", "on the axis, before"),
        "asked": ("m", "on the axis"),
        "reached": ("m", "on the axis, as read back"),
        "std": ("m", "of reached"),
        "peak_speed": ("m/s", "on the way"),
        "settle": ("s", "waited after arrival"),
        "closest": ("m", "smallest gap on the way"),
        "designer": _DESIGNER,
    },
    "placed": {
        "purpose": ("", "explore or design"),
        "designer": _DESIGNER,
        "asked": ("m", "(transmitter, antenna) of local x; transmitters as in scenario.toml"),
        "reached": ("m", "(transmitter, antenna) of local x, as read back"),
        "std": ("m", "(transmitter, antenna) of reached"),
        "moved": ("", "elements that were asked to move"),
        "movable": ("", "elements that could have"),
    },
    "measured": {
        "version": ("", "that was on the air"),
        "designer": _DESIGNER,
        "user": ("", "name"),
        "sinr_db": ("dB", "of the user's worst block"),
        "std_db": ("dB", "standard deviation of sinr_db"),
        "upper_db": ("dB", "upper 99 % limit of sinr_db, simultaneous over users and blocks: below the promise it is broken"),
        "blocks_db": ("dB", "SINR per block"),
        "blocks_std_db": ("dB", "standard deviations of blocks_db"),
        "predicted_db": ("dB", "of this user's worst block"),
        "promised_db": ("dB", "of this user's worst block"),
        "mean_rate_db": ("dB", "2^(mean rate) - 1 over the blocks"),
        "evm": ("", "RMS error over RMS reference, constellation after one complex gain per tone"),
        "equalised": ("", "some of the payload's symbols as [re, im] after that gain and each symbol's common phase, evenly spread over the frame"),
        "rate_bit": ("bit/s/Hz", "mean over the blocks"),
        "bit_errors": ("", "in `bits`"),
        "bits": ("", "compared"),
        "target": (
            "",
            "in place of a user: position, m; error, m (null: not known); surveyed, m (null); crlb, m; covariance, m^2; above_threshold. Of several "
            "cells, unit rad: cell; angle from broadside, error (null), std, crlb (of the model fitted), ideal (one target and noise), rad; "
            "snr_db, loss_db; assumes, the reasons last where it is not above_threshold",
        ),
    },
    "recorded": {
        "what": ("", "what is now whole and will not be repeated on resume: explore, a baseline's name, or round"),
        "rows": ("", "lines that results.csv has now, header included"),
    },
    "task": {
        "key": ("", "tasks/KEY.json has its parameters and its result"),
        "parameters": ("", "as that file has them"),
        "kept": ("", "true: it was done before this run was resumed"),
        "error": ("", "why it has no result; absent where it has one"),
    },
    "warned": {},
    "failed": {},
}
_COMPLAINT = {
    "id": ("", "as in docs/errors.md"),
    "message": ("", "what happened"),
    "device": ("", "device or node"),
    "found": ("", "with its unit"),
    "allowed": ("", "with its unit"),
    "fix": ("", "what to do"),
}
EVENTS["warned"] = dict(_COMPLAINT)
EVENTS["failed"] = dict(_COMPLAINT)


def plain(value: Any, run_name: str = "") -> Any:
    """A value as JSON can hold it, the same in every run.

    numpy scalars and arrays become numbers and lists, complex numbers [re, im], enumerations their value; a number that is not finite
    becomes null. `run_name` is replaced by RUN inside texts. Anything else, paths among it, is refused: TypeError.
    """
    if value is None or isinstance(value, bool | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return plain(value.value, run_name)
    if isinstance(value, str):
        return str(value).replace(run_name, "RUN") if run_name else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, np.generic):
        return plain(value.item(), run_name)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), run_name)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys in events are texts, found {key!r}")
        return {key: plain(value[key], run_name) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain(item, run_name) for item in value]
    raise TypeError(f"an event cannot hold {type(value).__name__}: {value!r}")


def time_text(t: Instant) -> str:
    """Seconds as a decimal number with all the digits an instant has, to 1e-15 s: no rounding to a float's step far from the epoch."""
    scaled = round(t.fraction * 10**15)
    whole, scaled = t.whole + scaled // 10**15, scaled % 10**15
    if whole < 0 and scaled:  # -0.25 s is whole -1 and fraction 0.75
        return f"-{-whole - 1}." + f"{10**15 - scaled:015d}".rstrip("0")
    return f"{whole}." + (f"{scaled:015d}".rstrip("0") or "0")


def instant_of(line: bytes) -> Instant:
    """The exact instant of a line made by `encode`."""
    text = line[line.index(b'"t":') + 4 :].split(b",", 1)[0].decode()
    whole, _, digits = text.lstrip("-").partition(".")
    fraction = int(digits.ljust(15, "0") or "0")
    if not text.startswith("-"):
        return Instant(int(whole), fraction / 10**15)
    return Instant(-int(whole) - 1, (10**15 - fraction) / 10**15) if fraction else Instant(-int(whole), 0.0)


def encode(
    n: int, t: Instant, event: str, round: int | None, fields: Mapping[str, Any], run_name: str = ""
) -> tuple[bytes, dict[str, Any]]:
    """One line (with its newline) and the same event as a dict. ValueError: an event or a field that `EVENTS` does not list."""
    if event not in EVENTS:
        raise ValueError(f"no such event: {event!r}; known: {', '.join(EVENTS)} (hil.records.events.EVENTS)")
    strangers = sorted(set(fields) - set(EVENTS[event]))
    if strangers:
        raise ValueError(f"event {event!r} has no field {', '.join(map(repr, strangers))}: add it to hil.records.events.EVENTS first")
    try:
        body = plain(fields, run_name)
    except TypeError as error:
        raise TypeError(f"event {event!r}: {error}") from None
    head = f'{{"n":{n},"t":{time_text(t)},"event":"{event}","round":{json.dumps(plain(round))}'
    rest = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)[1:-1]
    text = (head + ("," + rest if rest else "")).encode()
    crc = crc32(text + b"}")
    return text + f',"crc":{crc}}}\n'.encode(), {"n": n, "t": t.seconds, "event": event, "round": plain(round), **body, "crc": crc}


def decode(line: bytes) -> dict[str, Any] | None:
    """The event of a line, or None when it is not whole: cut short, altered or not JSON."""
    line = line.rstrip(b"\n")
    body, comma, tail = line.rpartition(b',"crc":')
    if not comma or not tail.endswith(b"}") or not tail[:-1].isdigit() or crc32(body + b"}") != int(tail[:-1]):
        return None
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return event
