"""Whether a testbed can do what a scenario wants: wiring, reach, band, power. Every disagreement at once, before anything is opened."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from hil import strict
from hil.errors import InputError
from hil.profile import span
from hil.quantities import decimals, frequency, number
from hil.scenario import Array, Scenario, User
from hil.strict import Source
from hil.testbed import NodeFile, Testbed, Wire


def require_bench(scenario: Scenario, testbed: Testbed, nodes: Mapping[str, NodeFile] | None = None) -> None:
    """Raise what `check_bench` finds."""
    strict.raise_all(check_bench(scenario, testbed, nodes))


def check_bench(scenario: Scenario, testbed: Testbed, nodes: Mapping[str, NodeFile] | None = None) -> list[InputError]:
    """All that a scenario and a testbed disagree about. nodes: by name, the limits of those nodes whose file is at hand."""
    assert scenario.source is not None and testbed.source is not None
    here = {node.name for node in testbed.node}
    nodes = {name: node for name, node in (nodes or {}).items() if name in here}
    errors = _wired(scenario, testbed) + _claimed(scenario, testbed) + _band(scenario, testbed, nodes)
    for index, array in enumerate(scenario.array):
        wire = next((wire for wire in testbed.wire if wire.array == array.name), None)
        if wire is None:
            continue
        lengths = _lengths(scenario, testbed, array, wire)
        errors += lengths + _channels(testbed, wire, array.role)
        if not lengths:
            errors += _reach(scenario, testbed, array, index, wire)
        if array.role == "transmit":
            errors += _power(scenario.source, testbed, array, index, wire, nodes)
    for user in scenario.user:
        wire = next((wire for wire in testbed.wire if wire.user == user.name), None)
        if wire is not None:
            errors += _channels(testbed, wire, "user") + _one_antenna(testbed, wire)
    return errors


def _at(testbed: Testbed) -> Source:
    assert testbed.source is not None
    return testbed.source


def _index(testbed: Testbed, wire: Wire) -> int:
    return testbed.wire.index(wire)


def _wired(scenario: Scenario, testbed: Testbed) -> list[InputError]:
    """Every array and user of the scenario has a wire, every wire something to hang."""
    errors = []
    source = scenario.source
    assert source is not None
    tables: tuple[tuple[str, tuple[Array | User, ...]], ...] = (("array", scenario.array), ("user", scenario.user))
    for table, parts in tables:
        wired = [getattr(wire, table) for wire in testbed.wire if getattr(wire, table)]
        for index, part in enumerate(parts):
            if part.name not in wired:
                file = _at(testbed).file
                errors.append(
                    source.error(
                        "not-wired",
                        f"the testbed has no such {table}",
                        table,
                        index,
                        note=f"{table}s wired in testbed.toml: {', '.join(wired) or 'none'}",
                        fix=f'rename the {table}, or add a [[wire]] with {table} = "{part.name}" to {file}',
                    )
                )
    return errors


def _claimed(scenario: Scenario, testbed: Testbed) -> list[InputError]:
    """Every channel of a radio has one wire each way."""
    sending = {array.name for array in scenario.transmitters}
    errors, first = [], dict[tuple[str, bool, int], int]()
    for index, wire in enumerate(testbed.wire):
        claims = [(wire.radio, wire.array in sending, channel) for channel in wire.channels]
        twice = [claim for claim in claims if claim in first]
        if twice:
            radio, sends, channel = twice[0]
            what = f"two wires hang on one {'transmit' if sends else 'receive'} channel of radio `{radio}`"
            found = f"{channel}, first in line {first[twice[0]]}"
            errors.append(_at(testbed).error("one-channel-twice", what, "wire", index, "channels", found=found))
        for claim in claims:
            first.setdefault(claim, _at(testbed).line("wire", index, "channels"))
    return errors


def _band(scenario: Scenario, testbed: Testbed, nodes: Mapping[str, NodeFile]) -> list[InputError]:
    """The occupied band inside the licence and the nodes' limits; carrier and rate inside every wired radio's profile."""
    source, signal = scenario.source, scenario.signal
    assert source is not None
    low, high = signal.band_hz
    found = f"{frequency(signal.carrier_hz)} +- {frequency(signal.used_bandwidth_hz / 2, 2)}"
    errors = []
    limits = [("outside the licensed band", testbed.limits.band_hz, _at(testbed).reference("limits", "band_hz"))]
    for name, node in nodes.items():
        limits.append((f"outside the band that node `{name}` permits", node.limits.band_hz, f"node.toml of `{name}`, limits.band_hz"))
    for what, band, where in limits:
        if low < band[0] or high > band[1]:
            allowed = f"{_band_text(band)} ({where}); nothing was sent"
            errors.append(source.error("out-of-band", what, "signal", "carrier_hz", found=found, allowed=allowed))
    for radio in _radios(scenario, testbed):
        tuning = testbed.radio_profile(radio).range
        profile = testbed.radio_named(radio).profile
        for key, value, within in (
            ("carrier_hz", signal.carrier_hz, tuning.carrier_hz),
            ("sample_rate_hz", signal.sample_rate_hz, tuning.sample_rate_hz),
        ):
            if not within[0] <= value <= within[1]:
                allowed = f"{span(within)} (profile {profile}, range.{key})"
                errors.append(
                    source.error(
                        "out-of-reach", f"radio `{radio}` does not go there", "signal", key, found=frequency(value), allowed=allowed
                    )
                )
    return errors


def _band_text(band: tuple[float, float]) -> str:
    """Both edges in one unit: 2.400 ... 2.4835 GHz."""
    low, high = frequency(band[0]), frequency(band[1])
    return f"{low.split()[0] if low.split()[1] == high.split()[1] else low} ... {high}"


def _radios(scenario: Scenario, testbed: Testbed) -> list[str]:
    """Radios that take part, each once, in the order of the wires."""
    parts = {array.name for array in scenario.array} | {user.name for user in scenario.user}
    return list(dict.fromkeys(wire.radio for wire in testbed.wire if wire.of in parts))


def _lengths(scenario: Scenario, testbed: Testbed, array: Array, wire: Wire) -> list[InputError]:
    if len(wire.channels) == array.elements:
        return []
    assert scenario.source is not None
    where = scenario.source.reference("array", scenario.array.index(array), "elements")
    allowed = f"{array.elements}, one per element ({where})"
    return [
        _at(testbed).error(
            "wire-lengths",
            "this list has the wrong length",
            "wire",
            _index(testbed, wire),
            "channels",
            found=f"{len(wire.channels)} entries",
            allowed=allowed,
        )
    ]


def _channels(testbed: Testbed, wire: Wire, role: str) -> list[InputError]:
    """Channels that the part has."""
    can = testbed.capability(wire.radio)
    have, way = (can.transmit_channels, "transmit") if role == "transmit" else (can.receive_channels, "receive")
    missing = [channel for channel in wire.channels if channel >= have]
    if not missing:
        return []
    found = ", ".join(str(channel) for channel in missing)
    allowed = f"0{f' ... {have - 1}' if have > 1 else ''} ({have} {way} channel{'s' if have > 1 else ''} of part `{can.part}`)"
    return [
        _at(testbed).error(
            "no-channel",
            f"radio `{wire.radio}` has no such channel",
            "wire",
            _index(testbed, wire),
            "channels",
            found=found,
            allowed=allowed,
        )
    ]


def _one_antenna(testbed: Testbed, wire: Wire) -> list[InputError]:
    if len(wire.channels) == 1:
        return []
    found = f"{len(wire.channels)} channels"
    return [
        _at(testbed).error("wire-lengths", "a user has one antenna", "wire", _index(testbed, wire), "channels", found=found, allowed="1")
    ]


def _reach(scenario: Scenario, testbed: Testbed, array: Array, index: int, wire: Wire) -> list[InputError]:
    """Every element can go wherever the scenario's rail lets it, and neighbours keep the gap that their carriages need."""
    low, high = array.travel(scenario.wavelength)
    carriage, spacing = testbed.carriage(wire), array.min_spacing(scenario.wavelength)
    gap = max(carriage, spacing)
    errors = []
    if (need := (array.elements - 1) * gap) > (high - low) * (1 + 1e-9):
        assert scenario.source is not None
        gap_mm, need_mm, travel_mm = (number(round(length * 1e3, 2)) for length in (gap, need, high - low))
        found = f"{array.elements - 1} gaps x {gap_mm} mm = {need_mm} mm, travel {travel_mm} mm"
        most = int((high - low) / gap + 1e-9) + 1
        what = f"{array.elements} elements do not fit the travel: carriages are {number(round(carriage * 1e3, 2))} mm wide"
        errors.append(
            scenario.source.error(
                "rail-too-short", what, "array", index, "elements", found=found, fix=f"elements <= {most}, or a longer travel"
            )
        )
    reach = testbed.reach(wire)
    slack = 1e-4  # files state tenths of a millimetre
    for place, (element, (least, furthest)) in enumerate(zip(wire.elements, reach)):
        if element.axis is None:
            inside, wanted = low - slack <= element.offset <= high + slack, (low, high)
        else:
            wanted = (low + place * gap, high - (array.elements - 1 - place) * gap)
            inside = least <= wanted[0] + slack and furthest >= wanted[1] - slack
        if not inside:
            key = "position_mm" if element.axis is None else "axes"
            found = _mm(least, furthest) if element.axis is not None else f"{decimals(least * 1e3, 1)} mm"
            allowed = f"{'local x' if element.axis is None else 'at least local x'} {_mm(*wanted)} (array.{array.name}.travel_wavelengths)"
            what = f"element {place} stands off the rail" if element.axis is None else f"element {place} cannot reach its part of the rail"
            errors.append(_at(testbed).error("off-the-rail", what, "wire", _index(testbed, wire), key, found=found, allowed=allowed))
    return errors + _fixed_spacing(testbed, array, wire, spacing - slack) + _carried(testbed, array, wire)


def _carried(testbed: Testbed, array: Array, wire: Wire) -> list[InputError]:
    """All elements of an array on carriages, or none: what the loop can explore."""
    moving = len(wire.moving)
    if moving in (0, array.elements):
        return []
    return [
        _at(testbed).error(
            "half-carried", "elements of one array all move, or all stand still", "wire", _index(testbed, wire), "axes",
            found=f"{moving} of {array.elements} on an axis", allowed=f"{array.elements} or 0", fix="two arrays, or an axis for each",
        )
    ]


def _fixed_spacing(testbed: Testbed, array: Array, wire: Wire, least: float) -> list[InputError]:
    """Elements that stand still keep their order and their distance."""
    still = [(place, element.offset) for place, element in enumerate(wire.elements) if element.axis is None]
    for (first, a), (second, b) in itertools.pairwise(still):
        if b - a < least * (second - first):
            found = f"elements {first} and {second} at {decimals(a * 1e3, 1)} and {decimals(b * 1e3, 1)} mm"
            allowed = f"in order, {array.min_spacing_wavelengths:g} wavelengths apart or more"
            return [
                _at(testbed).error(
                    "spacing", "elements stand too close", "wire", _index(testbed, wire), "position_mm", found=found, allowed=allowed
                )
            ]
    return []


def _mm(low: float, high: float) -> str:
    return f"{decimals(round(low * 1e3, 1), 1)} ... {decimals(round(high * 1e3, 1), 1)} mm"


def _power(source: Source, testbed: Testbed, array: Array, index: int, wire: Wire, nodes: Mapping[str, NodeFile]) -> list[InputError]:
    """Per-element cap against part, node and licence."""
    assert array.element_power_dbm is not None
    power = array.element_power_dbm
    node = testbed.radio_named(wire.radio).node
    can = testbed.capability(wire.radio)
    path = ("array", index, "element_power_dbm")
    found = f"{decimals(power, 1)} dBm"
    errors = []
    if power > can.transmit_full_scale_dbm:
        allowed = f"at most {decimals(can.transmit_full_scale_dbm, 1)} dBm (full scale of part `{can.part}`)"
        errors.append(source.error("power-cap", f"above what radio `{wire.radio}` can send", *path, found=found, allowed=allowed))
    eirp = power + 20 * math.log10(array.elements) + wire.antenna_gain_dbi
    together = f"{20 * math.log10(array.elements):.1f} dB ({array.elements} in phase)"
    sum_text = f"{found} + {together} + {decimals(wire.antenna_gain_dbi, 1)} dBi = {eirp:.1f} dBm EIRP"
    limits = [("the licence", testbed.limits.eirp_dbm, _at(testbed).reference("limits", "eirp_dbm"))]
    if node in nodes:
        limit = nodes[node].limits
        limits.append((f"node `{node}`", limit.eirp_dbm, f"node.toml of `{node}`, limits.eirp_dbm"))
        if power > limit.power_dbm:
            allowed = f"at most {decimals(limit.power_dbm, 1)} dBm (node.toml of `{node}`, limits.power_dbm)"
            fix = f"lower it, or ask the keeper of `{node}`: a controller cannot raise it"
            errors.append(source.error("power-cap", f"above what node `{node}` permits", *path, found=found, allowed=allowed, fix=fix))
    for who, most, where in limits:
        if eirp > most + 1e-9:
            allowed = f"at most {decimals(most, 1)} dBm ({where})"
            errors.append(source.error("eirp", f"radiates more than {who} permits", *path, found=sum_text, allowed=allowed))
    return errors
