"""`hil doctor`: looks at everything a bench needs and says what to do about what is not as it must be."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hil import checkup, reach
from hil.checkup import Finding
from hil.clock import WallClock
from hil.commands.addresses import addressed
from hil.commands.profile import satisfies
from hil.commands.streams import Streams
from hil.device import Loss, Setting
from hil.envelope import Limits, check_setting, check_waveform
from hil.errors import DeviceError, HilError

AMPLITUDE = 0.25  # of full scale, of all channels' test tones together
LEAST_ATTENUATION_DB = 20.0  # behind which tones are sent
LEAST_FREE_GB = 2.0
TALLEST_LINE_DBFS = -50.0  # a line above this is worth a look


def doctor(streams: Streams, paths: Sequence[Path], *, air: bool, seed: int, yes: bool) -> int:
    """Print a line per finding; 1 when something must be fixed, 0 otherwise.

    air, yes: over the air test tones are sent only with `yes`, within the limits of licence and node.
    """
    from hil import bench

    lab = bench.load(*paths)
    findings: list[Finding] = []

    def say(finding: Finding) -> None:
        findings.append(finding)
        streams.result(_line(streams, finding))

    for finding in _machine():
        say(finding)
    if not any(finding.verdict == "FIX" for finding in findings):
        with addressed(streams, lab, air=air, seed=seed) as uris:
            radios: dict[str, Any] = {}
            try:
                for name, uri in uris.items():
                    for finding in _opened(lab, name, uri, radios):
                        say(finding)
                for name, radio in radios.items():
                    for finding in _looked_at(lab, name, radio, transmit=yes or not air):
                        say(finding)
                for finding in _heard(lab, radios, transmit=yes or not air):
                    say(finding)
            finally:
                for radio in radios.values():
                    radio.close()
    for finding in _stages(lab, air):
        say(finding)
    say(Finding("calibration", "no records yet: powers are those of data sheets, some dB off", verdict="-"))
    say(_disk(lab.folder))
    bad = sum(finding.verdict == "FIX" for finding in findings)
    streams.done({"findings": [vars(finding) for finding in findings]}, ok=not bad)
    return 1 if bad else 0


def _line(streams: Streams, one: Finding) -> str:
    colour = {"ok": "green", "WARN": "yellow", "FIX": "red"}.get(one.verdict)
    verdict = streams.paint(one.verdict.ljust(4), colour, streams.out) if colour else one.verdict.ljust(4)
    return f"{one.what:<22} {one.found:<58} {one.wanted:<26} {verdict}  {one.fix}".rstrip()


def _failed(what: str, error: HilError) -> Finding:
    return Finding(what, f"{error.what}: {error.found}" if error.found else error.what, error.allowed, "FIX", error.fix)


# -- without a radio ---------------------------------------------------------------------------------------------------------------------


def _machine() -> Iterator[Finding]:
    """Versions of what drivers stand on."""
    versions = reach.library_versions()
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    try:
        reach.require_library()
    except DeviceError as error:
        yield Finding("libraries", found, "0.0.21, below 1, 0.24 ... 0.26", "FIX", error.fix)
        return
    yield Finding("libraries", found)


def _stages(lab: Any, air: bool) -> Iterator[Finding]:
    """What there is to say of stages while none has a driver: over the air they keep a bench from running."""
    for stage in lab.testbed.stage:
        controller = lab.testbed.stage_profile(stage.name).controller
        yield Finding(
            stage.name, f"{controller}, no driver of it yet: not looked at", "", "FIX" if air else "-",
            "antennas that stand still: `position_mm` in place of `stage`, `axes`, `offset_mm`" if air else "",
        )  # fmt: skip


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    verdict: checkup.Verdict = "ok" if free >= LEAST_FREE_GB else "FIX"
    return Finding("disk", f"{free:.0f} GB free", f"at least {LEAST_FREE_GB:g} GB", verdict, "" if verdict == "ok" else "make room for captures")


# -- each radio --------------------------------------------------------------------------------------------------------------------------


def _opened(lab: Any, name: str, uri: str | None, radios: dict[str, Any]) -> Iterator[Finding]:
    """Reach, identity, firmware, profile; the radio is then among `radios`."""
    try:
        radio = radios[name] = reach.open_radio(lab.testbed, name, WallClock(), uri)
    except HilError as error:
        yield _failed(name, error)
        return
    can, wanted = radio.capability, lab.testbed.radio_profile(name)
    fits = satisfies(can.firmware, wanted.firmware)
    old = fits is False
    verdict: checkup.Verdict = "WARN" if old else "ok" if fits else "-"
    yield Finding(
        name, f"{radio.board.uri}, serial {_short(can.serial)}, firmware {can.firmware or 'not stated'}",
        f"profile wants {wanted.firmware}" if fits is not True else "as in testbed.toml", verdict,
        "update it, or widen `firmware` in the profile" if old else "",
    )  # fmt: skip
    try:
        check_setting(name, can, asked := reach.starting(lab.scenario, lab.testbed, name), _limits(lab, name))
        before = radio.audit()
        radio.configure(asked)
    except HilError as error:
        yield _failed(f"{name} profile", error)
        radios.pop(name).close()
        return
    changed = f", {len(before)} of its settings were others" if before else ""
    yield Finding(f"{name} profile", f"{lab.testbed.radio_named(name).profile} taken and read back{changed}")
    warmth, limit = radio.temperature_c(), wanted.fitting["temperature_c"]
    if warmth is not None:
        hot = limit is not None and warmth > limit
        yield Finding(f"{name} temperature", f"{warmth:.1f} C", f"at most {limit:g} C" if limit is not None else "", "FIX" if hot else "ok",
                      "let it cool, and see to its airflow" if hot else "")  # fmt: skip


def _looked_at(lab: Any, name: str, radio: Any, *, transmit: bool) -> Iterator[Finding]:
    """Noise, lines, loopback, throughput, sample clock."""
    try:
        yield from _silence(name, radio)
        if transmit:
            yield _loopback(lab, name, radio)
        yield from _pace(name, radio)
    except HilError as error:
        yield _failed(name, error)


def _silence(name: str, radio: Any) -> Iterator[Finding]:
    capture = radio.capture(checkup.SAMPLES, 5.0)
    noise = checkup.noise_dbfs(capture)
    if dead := checkup.dead_channels(capture):
        yield Finding(f"{name} noise", f"channel {', '.join(map(str, dead))} hears nothing at all", "noise", "FIX",
                      "a port that is not connected inside: `ports` of the profile, or the board")  # fmt: skip
        return
    loud = max(noise) > -20.0
    port = max(level + radio.capability.receive_full_scale_dbm - gain for level, gain in zip(noise, capture.gain_db))
    levels = f"{max(noise):.0f}" if max(noise) - min(noise) < 1.0 else f"{min(noise):.0f} ... {max(noise):.0f}"
    yield Finding(
        f"{name} noise", f"{levels} dBFS, by data sheet {port:.0f} dBm in {capture.sample_rate_hz / 1e6:g} MHz", "below -20 dBFS",
        "WARN" if loud else "ok", "something transmits nearby, or less `gain.receive_db`" if loud else "",
    )  # fmt: skip
    lines = checkup.lines(capture)
    tall = bool(lines) and lines[0].dbfs > TALLEST_LINE_DBFS
    yield Finding(f"{name} lines", checkup.describe_lines(lines, 1), f"below {TALLEST_LINE_DBFS:g} dBFS", "WARN" if tall else "ok",
                  "a signal on the air, or a spur of the board: another carrier" if tall else "")  # fmt: skip


def _loopback(lab: Any, name: str, radio: Any) -> Finding:
    """Random codes through the chip and back, attenuators at their most."""
    can, asked = radio.capability, radio.setting
    rng = np.random.default_rng(1)
    shape = (can.transmit_channels, checkup.CYCLE, 2)
    waveform = rng.uniform(-0.5, 0.5, shape).astype(np.float32).view(np.complex64)[..., 0]
    radio.configure(replace(asked, attenuation_db=(can.attenuation_db[1],) * can.transmit_channels))
    share = checkup.looped_back(radio, waveform, can.bits)
    radio.configure(asked)
    if share is None:
        return Finding(f"{name} loopback", f"not tried: {can.part} has none that is sure to close", verdict="-", fix="its ports are tried below")
    whole = share == 1.0
    return Finding(f"{name} loopback", f"{share:.2%} of {waveform.size} codes came back as sent", "all", "ok" if whole else "FIX",
                   "" if whole else "samples are damaged on their way: cable, USB port, firmware")  # fmt: skip


def _pace(name: str, radio: Any) -> Iterator[Finding]:
    rate = radio.setting.sample_rate_hz
    rows = checkup.paces(radio, WallClock(), rate)
    found = rows[-1]
    keeps = found.lost == 0
    yield Finding(
        f"{name} throughput", f"{found.transfer_hz / 1e6:.1f} MS/s a channel, loss in {found.lost} of {found.captures} captures", "no loss",
        "ok" if keeps else "WARN", "" if keeps else "a lower rate, a nearer network, or a host with less to do",
    )  # fmt: skip
    yield checkup.sample_clock(f"{name} sample clock", rows, rate)


# -- from port to port ----------------------------------------------------------------------------------------------------------------------


def _heard(lab: Any, radios: dict[str, Any], *, transmit: bool) -> Iterator[Finding]:
    """Each transmitter's tones at every receiver: ports that work, and how far apart clocks are."""
    if not transmit:
        for name in radios:
            yield Finding(f"{name} ports", "not tried: it would radiate", verdict="-", fix="hil doctor BENCH --air --yes")
        return
    for name in radios:
        try:
            yield from _ports(lab, name, radios)
        except HilError as error:
            yield _failed(f"{name} ports", error)


def _ports(lab: Any, name: str, radios: dict[str, Any]) -> Iterator[Finding]:
    radio = radios[name]
    can, limits = radio.capability, _limits(lab, name)
    gains = reach.antenna_gain_dbi(lab.testbed, name)
    waveform = checkup.tones(can.transmit_channels, AMPLITUDE / can.transmit_channels)
    asked = _within(reach.starting(lab.scenario, lab.testbed, name), can, limits, gains)
    check_waveform(name, can, asked, waveform, limits, antenna_gain_dbi=gains)
    radio.configure(asked)
    silence, taken = {}, {}
    for other, receiver in radios.items():
        silence[other] = receiver.capture(checkup.SAMPLES, 5.0)
    radio.load(1, waveform)
    try:
        radio.apply(1)
        for other, receiver in radios.items():
            taken[other] = receiver.capture(checkup.SAMPLES, 5.0)
            if taken[other].clipped > 0.0:
                taken[other], silence[other] = _softer(receiver, radio, waveform)
    finally:
        radio.mute()
    levels = {other: checkup.heard(taken[other], silence[other], can.transmit_channels) for other in radios}
    mute = [channel for channel in range(can.transmit_channels) if max(level[channel, :, 1].max() for level in levels.values()) < checkup.HEARD_DB]
    hearers = [other for other, level in levels.items() if level[..., 1].max() >= checkup.HEARD_DB]
    lost = any(capture.loss is Loss.SOME for capture in taken.values())
    where = ", ".join(f"{other} {levels[other][..., 0].max():.0f} dBFS" for other in hearers) or "nobody"
    yield Finding(
        f"{name} ports", f"{can.transmit_channels - len(mute)} of {can.transmit_channels} transmit ports heard by {where}", "each heard",
        "WARN" if mute or lost else "ok",
        f"channel {', '.join(map(str, mute))}: a cable or antennas between them, or `ports` of the profile" if mute else "",
    )  # fmt: skip
    for other in hearers:
        if other != name:
            yield _clocks(name, other, taken[other], levels[other], can.transmit_channels)


def _softer(receiver: Any, radio: Any, waveform: np.ndarray) -> tuple[Any, Any]:
    """The same at less gain, where it would clip."""
    if receiver is radio:
        radio.mute()
    now = receiver.setting
    least = receiver.capability.receive_gain_db[0]
    receiver.configure(replace(now, receive_gain_db=tuple(max(least, gain - 25.0) for gain in now.receive_gain_db)))
    if receiver is radio:
        silence = receiver.capture(checkup.SAMPLES, 5.0)
        radio.load(1, waveform)
        radio.apply(1)
        return receiver.capture(checkup.SAMPLES, 5.0), silence
    taken = receiver.capture(checkup.SAMPLES, 5.0)
    radio.mute()
    silence = receiver.capture(checkup.SAMPLES, 5.0)
    radio.load(1, waveform)
    radio.apply(1)
    return taken, silence


def _clocks(name: str, other: str, capture: Any, level: np.ndarray, channels: int) -> Finding:
    sent, heard = (int(index) for index in np.unravel_index(int(np.argmax(level[..., 1])), level.shape[:2]))
    off = checkup.offset_hz(capture, heard, checkup.tone_cycles(sent, channels))
    ppm = off / capture.carrier_hz * 1e6
    wide = abs(ppm) > 0.8 * checkup.WIDEST_PPM
    return Finding(f"{other} clock", f"{name} is {off:+.0f} Hz, {ppm:+.2f} ppm from it", "within 50 ppm", "FIX" if wide else "ok",
                   "one of the two references is not locked" if wide else "")  # fmt: skip


def _within(asked: Setting, can: Any, limits: Limits, gains: tuple[float, ...]) -> Setting:
    """Attenuation at which the test tones stay within the limits, at least what the profile starts with."""
    attenuation = []
    for channel, start in enumerate(asked.attenuation_db):
        power = can.transmit_full_scale_dbm + 20.0 * math.log10(AMPLITUDE / can.transmit_channels)
        most = [limit for limit in (limits.power_dbm,) if limit is not None]
        if limits.eirp_dbm is not None:
            most.append(limits.eirp_dbm - gains[channel] - 20.0 * math.log10(can.transmit_channels))
        wanted = max([start, LEAST_ATTENUATION_DB, *(power - limit for limit in most)])
        attenuation.append(min(can.attenuation_db[1], math.ceil(wanted / can.attenuation_step_db) * can.attenuation_step_db))
    return replace(asked, attenuation_db=tuple(attenuation))


def _limits(lab: Any, name: str) -> Limits:
    return reach.limits(lab.testbed, lab.testbed.radio_named(name).node, lab.nodes)


def _short(serial: str) -> str:
    """The ends of a long serial number."""
    return serial if len(serial) <= 20 else f"{serial[:4]}...{serial[-3:]}"


