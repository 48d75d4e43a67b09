"""Captures as SigMF 1.2 Recordings: the converter's codes, interleaved over channels, so that a replay is exact.

Extension `hil` 1.0.0 (docs/sigmf-hil.json) carries what the standard has no word for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant
from hil.device import Capture, Loss, fractions
from hil.errors import RecordError

VERSION = "1.2.0"
EXTENSION = {"name": "hil", "version": "1.0.0", "optional": True}
PURPOSES = ("sound", "explore", "measure", "idle")
LABELS = ("preamble", "pilots", "payload", "lost")
_GRID = 0.02  # codes: float32 carries 15-bit codes to better than this


@dataclass(frozen=True, slots=True, eq=False)
class Recorded(Capture):
    """A capture read back from a run: its samples are exactly the codes over `full_scale`, and it says where its antennas were.

    positions, position_std: (channel, xyz) metres in the world, or None where the device has no known place.
    """

    name: str = ""
    purpose: str = ""
    round: int | None = None
    positions: NDArray[np.float64] | None = None
    position_std: NDArray[np.float64] | None = None
    node: str = ""
    serial: str = ""
    settings: str = ""  # key of settings.json
    annotations: tuple[tuple[str, int, int], ...] = ()  # label, first sample, samples
    details: Mapping[str, Any] | None = None  # the whole metadata file

    @property
    def rate(self) -> float:
        return self.sample_rate_hz

    @property
    def carrier(self) -> float:
        return self.carrier_hz


def codes(capture: Capture) -> NDArray[np.int16]:
    """The converter's integer codes, (sample, channel, iq) int16, C order: those the capture came with, or else those of its samples.
    RecordError `not-codes` if the samples are not fractions of codes.
    """
    if capture.codes is not None:
        return np.ascontiguousarray(capture.codes.values, dtype=np.int16)
    samples = np.ascontiguousarray(capture.samples, dtype=np.complex64)
    scaled = samples.view(np.float32) * np.float32(capture.full_scale)
    whole = np.rint(scaled)
    np.subtract(scaled, whole, out=scaled)
    off = max(float(scaled.max(initial=0.0)), -float(scaled.min(initial=0.0)))
    most = max(float(whole.max(initial=0.0)), -float(whole.min(initial=0.0)) - 1.0)
    if not (off <= _GRID and most <= 32767.0):
        raise RecordError(
            "not-codes",
            "samples are not integer codes over full scale",
            where=capture.device or "capture",
            found=f"largest code {most:g}, up to {off:g} off the grid of {capture.full_scale}",
            allowed="integers of 16 bits",
            fix="a Radio returns codes / full_scale, unscaled",
        )
    channels, count = samples.shape
    pairs = whole.astype(np.int16).view(np.int32).reshape(channels, count)
    return np.ascontiguousarray(pairs.T).view(np.int16).reshape(count, channels, 2)


def samples_of(data: bytes, channels: int, full_scale: int) -> NDArray[np.complex64]:
    """(channel, sample) complex64 of a data file's bytes: the inverse of `codes`."""
    return fractions(np.frombuffer(data, "<i2").reshape(-1, channels, 2), full_scale)


def _rows(values: Any, what: str, channels: int) -> list[list[float]] | None:
    if values is None:
        return None
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (channels, 3) or not np.all(np.isfinite(array)):
        raise ValueError(f"{what}: ({channels} channels, 3) finite metres, found shape {array.shape}")
    return [[float(value) for value in row] for row in array]


def metadata(
    capture: Capture,
    *,
    sha512: str,
    run: str,
    round: int | None,
    purpose: str,
    utc: datetime,
    node: str = "",
    serial: str = "",
    hw: str = "",
    settings: str = "",
    positions: Any = None,
    position_std: Any = None,
    emulated: bool = True,
    recorder: str = "hil",
    annotations: Iterable[tuple[str, int, int]] = (),
    description: str = "",
    collection: str = "",
) -> dict[str, Any]:
    """The metadata file of one capture. `annotations`: (label, first sample, samples)."""
    channels, count = capture.samples.shape
    if purpose not in PURPOSES:
        raise ValueError(f"purpose of a capture: one of {', '.join(PURPOSES)}, found {purpose!r}")
    segment: dict[str, Any] = {"core:sample_start": 0, "core:frequency": float(capture.carrier_hz), "core:datetime": _datetime(utc)}
    if capture.first_sample is not None:
        segment["core:global_index"] = int(capture.first_sample)
    extra = {
        "round": round,
        "purpose": purpose,
        "version": capture.version,
        "positions_m": _rows(positions, "positions", channels),
        "position_std_m": _rows(position_std, "position_std", channels),
        "gain_db": [float(gain) for gain in capture.gain_db],
        "loss": str(capture.loss),
        "clipped": float(capture.clipped),
        "settings": settings or None,
        "clock": [capture.clock.whole, capture.clock.fraction] if capture.clock is not None else None,
    }
    segment |= {f"hil:{key}": value for key, value in extra.items()}
    marks = []
    for label, start, length in sorted(annotations, key=lambda mark: mark[1]):
        if label not in LABELS or not 0 <= start <= start + length <= count:
            raise ValueError(f"annotation {label!r} at {start} + {length}: labels {', '.join(LABELS)} within {count} samples")
        marks.append({"core:sample_start": int(start), "core:sample_count": int(length), "core:label": label})
    overall = {
        "core:datatype": "ci16_le",
        "core:sample_rate": float(capture.sample_rate_hz),
        "core:version": VERSION,
        "core:num_channels": channels,
        "core:sha512": sha512,
        "core:hw": hw or f"{capture.device} {serial}".strip(),
        "core:recorder": recorder,
        "core:description": description or f"{purpose}, {capture.device}",
        "core:extensions": [EXTENSION],
        "hil:run": run,
        "hil:node": node,
        "hil:device": capture.device,
        "hil:serial": serial,
        "hil:full_scale": int(capture.full_scale),
        "hil:emulated": bool(emulated),
    }
    if collection:
        overall["core:collection"] = collection
    return {"global": overall, "captures": [segment], "annotations": marks}


def collection(streams: Sequence[tuple[str, str]], run: str, round: int) -> dict[str, Any]:
    """Ties a round's Recordings together; streams: (base name, SHA-512 of its metadata file)."""
    listed = [{"name": name, "hash": digest} for name, digest in streams]
    about = f"round {round} of {run}; devices are not aligned in time or phase"
    return {"collection": {"core:version": VERSION, "core:description": about, "core:extensions": [EXTENSION], "core:streams": listed}}


def recorded(name: str, meta: Mapping[str, Any], data: bytes) -> Recorded:
    """The capture of a metadata file and its data. RecordError where the two do not fit or the metadata lacks what a capture needs."""
    try:
        overall, segment = meta["global"], meta["captures"][0]
        channels, full_scale = int(overall["core:num_channels"]), int(overall["hil:full_scale"])
        if overall["core:datatype"] != "ci16_le":
            raise ValueError(f"core:datatype {overall['core:datatype']}")
        clock, positions, std = (segment.get(f"hil:{key}") for key in ("clock", "positions_m", "position_std_m"))
        return Recorded(
            samples=samples_of(data, channels, full_scale),
            sample_rate_hz=float(overall["core:sample_rate"]),
            carrier_hz=float(segment["core:frequency"]),
            gain_db=tuple(segment["hil:gain_db"]),
            first_sample=segment.get("core:global_index"),
            version=segment["hil:version"],
            loss=Loss(segment["hil:loss"]),
            clock=Instant(int(clock[0]), float(clock[1])) if clock else None,
            full_scale=full_scale,
            clipped=float(segment["hil:clipped"]),
            device=str(overall["hil:device"]),
            name=name,
            purpose=str(segment["hil:purpose"]),
            round=segment["hil:round"],
            positions=None if positions is None else np.array(positions),
            position_std=None if std is None else np.array(std),
            node=str(overall["hil:node"]),
            serial=str(overall["hil:serial"]),
            settings=segment.get("hil:settings") or "",
            annotations=tuple((mark["core:label"], mark["core:sample_start"], mark["core:sample_count"]) for mark in meta["annotations"]),
            details=meta,
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordError(
            "bad-capture",
            "not a capture of this project",
            where=name,
            found=f"{type(error).__name__}: {error}",
            allowed="ci16_le with the `hil` extension 1.x (docs/sigmf-hil.json)",
        ) from error


def _datetime(utc: datetime) -> str:
    return utc.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
