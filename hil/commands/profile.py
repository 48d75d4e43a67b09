"""`hil profile`: what radios should be set to, whether they are, and setting them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hil import reach
from hil.clock import WallClock
from hil.commands.addresses import addressed
from hil.commands.streams import Streams
from hil.device import Setting, differences
from hil.envelope import check_setting
from hil.errors import InputError


@dataclass(frozen=True)
class Row:
    """What a profile wants of one thing and what the radio says; `same` None where nobody asked the radio."""

    radio: str
    what: str
    wanted: str
    found: str = ""
    same: bool | None = None


def profile(streams: Streams, action: str, paths: Sequence[Path], device: str | None, *, air: bool, seed: int) -> int:
    """show: the profiles. check: read and compare, changing nothing but that transmitters fall silent. apply: set, read back, compare.

    1 when anything differs.
    """
    from hil import bench

    lab = bench.load(*paths)
    names = _chosen(lab.testbed, device)
    rows: list[Row] = []
    if action == "show":
        rows = [row for name in names for row in shown(lab, name)]
    else:
        with addressed(streams, lab, air=air, seed=seed) as uris:
            for name in names:
                limits = reach.limits(lab.testbed, lab.testbed.radio_named(name).node, lab.nodes)
                asked = reach.starting(lab.scenario, lab.testbed, name)
                check_setting(name, lab.testbed.capability(name), asked, limits)
                with reach.open_radio(lab.testbed, name, WallClock(), uris[name]) as radio:
                    if action == "apply":
                        radio.configure(asked)
                    rows += compared(lab.testbed, name, radio, asked, applied=action == "apply")
    for text in table(rows):
        streams.result(text)
    differ = [row for row in rows if row.same is False]
    if action == "check" and differ:
        streams.say(f"{len(differ)} differ; fix: hil profile apply BENCH")
    streams.done({"rows": [vars(row) for row in rows]}, ok=not differ)
    return 1 if differ else 0


def _chosen(testbed: Any, device: str | None) -> list[str]:
    names = [radio.name for radio in testbed.radio]
    if device is not None and device not in names:
        raise InputError("no-such-name", "the testbed has no radio of this name", key="DEVICE", found=device, allowed=", ".join(names))
    return names if device is None else [device]


def shown(lab: Any, name: str) -> list[Row]:
    """A profile in words."""
    radio, wanted = lab.testbed.radio_named(name), lab.testbed.radio_profile(name)
    can, asked = lab.testbed.capability(name), reach.starting(lab.scenario, lab.testbed, name)
    rows = [("profile", radio.profile), ("part", f"{can.part}, {can.transmit_channels} x {can.receive_channels}"), ("serial", radio.identity)]
    rows += [("firmware", wanted.firmware), ("carrier", f"{_hz(can.carrier_hz[0])} ... {_hz(can.carrier_hz[1])}, starts at {_hz(asked.carrier_hz)}")]
    rows += [("sampling rate", f"{_hz(can.sample_rate_hz[0])} ... {_hz(can.sample_rate_hz[1])}, starts at {_hz(asked.sample_rate_hz)}")]
    fir = "the driver's own" if wanted.fir is None else f"{wanted.filter.fir}, {len(wanted.fir.receive)} taps, by {wanted.fir.decimation}"
    rows += [("bandwidth", _hz(wanted.filter.bandwidth_hz)), ("FIR filter", fir)]
    rows += [("gains", f"receive {wanted.gain.receive_db:g} dB {wanted.gain.receive_mode}, attenuation {wanted.gain.attenuation_db:g} dB")]
    rows += [("tracking", ", ".join(f"{what} {'on' if on else 'off'}" for what, on in wanted.fitting["tracking"].items()) or "none")]
    rows += [("ports", "as the part comes" if wanted.ports is None else f"receive {wanted.ports.receive}, transmit {wanted.ports.transmit}")]
    rows += [("temperature", "no limit" if wanted.limits is None else f"at most {wanted.limits.temperature_c:g} C")]
    limits = reach.limits(lab.testbed, radio.node, lab.nodes)
    rows += [("limits", f"{_hz(limits.band_hz[0])} ... {_hz(limits.band_hz[1])}, {limits.eirp_dbm:g} dBm EIRP, duty {limits.duty:.0%}")]
    return [Row(name, what, value) for what, value in rows]


def compared(testbed: Any, name: str, radio: Any, asked: Setting, *, applied: bool) -> list[Row]:
    """The radio against its profile. Attenuators of a silent radio stand at their most; they are compared only when just applied."""
    wanted = testbed.radio_profile(name)
    became = radio.setting if applied else replace(radio.read(), attenuation_db=asked.attenuation_db)
    tolerance = wanted.tolerance.values
    off = {difference.setting: difference for difference in differences(asked, became, tolerance)}
    rows = [Row(name, "firmware", wanted.firmware, radio.capability.firmware or "not stated", satisfies(radio.capability.firmware, wanted.firmware))]
    for what in ("carrier_hz", "sample_rate_hz"):
        rows.append(Row(name, what.removesuffix("_hz").replace("_", " "), _hz(getattr(asked, what)), _hz(getattr(became, what)), what not in off))
    for key, word in (("receive_gain_db", "receive gain"), ("attenuation_db", "attenuation")):
        if key == "attenuation_db" and not applied:
            continue
        values, found = getattr(asked, key), getattr(became, key)
        same = not any(setting.startswith(key) for setting in off)
        rows.append(Row(name, word, " ".join(f"{value:g}" for value in values) + " dB", " ".join(f"{value:g}" for value in found) + " dB", same))
    rows.append(Row(name, "gain mode", asked.gain_mode, became.gain_mode, asked.gain_mode == became.gain_mode))
    unlike = radio.audit()
    rows += [Row(name, what, value, found, False) for what, value, found in unlike]
    if not unlike:
        rows.append(Row(name, "bandwidth, tracking, ports", "as in the profile", "the same", True))
    return rows


def satisfies(found: str, wanted: str) -> bool | None:
    """Whether a firmware version is what a profile wants; None when it is not stated as numbers."""
    operator = wanted[:2] if wanted[:2] in (">=", "<=", "==") else "=="
    try:
        here, there = (tuple(int(part) for part in text.split("-")[0].split(".")) for text in (found, wanted.lstrip("<>=")))
    except ValueError:
        return None
    return {">=": here >= there, "<=": here <= there, "==": here == there}[operator]


def table(rows: Sequence[Row]) -> list[str]:
    """Rows in columns; the last says ok, DIFFERS or nothing."""
    verdicts = {True: "ok", False: "DIFFERS", None: ""}
    texts = [(row.radio, row.what, row.wanted, row.found, verdicts[row.same]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)] if texts else []
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in texts]


def _hz(value: float) -> str:
    from hil.quantities import frequency

    return frequency(value)
