"""The radios of a testbed opened by their driver: what the driver is told, the limits they are held to, what --air must have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hil import strict
from hil.clock import Clock
from hil.device import Setting
from hil.envelope import Limits
from hil.errors import InputError
from hil.scenario import Scenario
from hil.testbed import NodeFile, Testbed

DRIVER = "hil.radios.opening:radio"  # as a node's plan names it
UNCALIBRATED_DB = 6.0  # by which a part may send more than its data sheet says: over frequency, from board to board, with temperature


def arguments(testbed: Testbed, name: str, uri: str | None = None) -> dict[str, Any]:
    """What the driver of a radio is given beside its name and a clock, in plain values. uri: in place of the testbed's.

    InputError `no-address` when neither says where the radio is; `no-serial` for one of the testbed's addresses without the identity that
    must answer there.
    """
    radio, source = testbed.radio_named(name), testbed.source
    if uri is None:
        index = testbed.radio.index(radio)
        file = source.file if source is not None else ""
        if radio.uri is None:
            raise InputError("no-address", "nothing says where this radio is", file=file, key=f"radio.{name}.uri",
                             line=source.line("radio", index) if source else 0, fix='uri = "usb:1.5.5" or "ip:10.0.0.9"')  # fmt: skip
        if radio.serial is None:
            raise InputError("no-serial", "nothing says which radio must answer there", file=file, key=f"radio.{name}.serial",
                             line=source.line("radio", index) if source else 0, fix="`iio_attr -u URI -C hw_serial` shows it")  # fmt: skip
    return {"uri": uri or radio.uri, "capability": asdict(testbed.capability(name)), "fitting": testbed.radio_profile(name).fitting}


def require_air(scenario: Scenario, testbed: Testbed, nodes: Mapping[str, NodeFile] | None = None) -> None:
    """All that keeps a bench from going over the air, at once: InputErrors `no-address`, `no-serial`, `no-driver`, `no-trigger`, `node-elsewhere`;
    when there is none of these, `no-calibration`. Nothing is opened."""
    source = testbed.source
    assert source is not None
    errors: list[InputError] = []
    if all(radio.uri is None for radio in testbed.radio):
        errors.append(source.error("no-address", "this bench is emulated only: no radio says where it is", "radio", note="nothing was opened",
                                   fix='uri = "usb:1.5.5" or "ip:10.0.0.9", and the serial that must answer there; or leave out --air'))  # fmt: skip
    else:
        for radio in testbed.radio:
            try:
                arguments(testbed, radio.name)
            except InputError as error:
                errors.append(error)
    if testbed.stage:
        named = ", ".join(f"`{stage.name}` ({testbed.stage_profile(stage.name).controller})" for stage in testbed.stage)
        errors.append(source.error("no-driver", f"no driver for stage {named} yet", "stage", note="nothing was opened, sent or moved",
                                   fix="leave out --air: emulated; or fixed elements (position_mm instead of stage and axes)"))  # fmt: skip
    for index, node in enumerate(testbed.node):
        if node.address != "local":
            errors.append(source.error("node-elsewhere", "nodes on other machines need keys, which this version has not", "node", index, "address",
                                       found=node.address, allowed="local"))  # fmt: skip
    strict.raise_all([*errors, *_triggered(testbed)])
    strict.raise_all(_uncalibrated(scenario, testbed, nodes))


def require_own_start(testbed: Testbed) -> None:
    """InputError `no-trigger` where radios are to start together: drivers of radios cannot have them do so."""
    strict.raise_all(_triggered(testbed))


def _triggered(testbed: Testbed) -> list[InputError]:
    source = testbed.source
    assert source is not None
    return [
        source.error("no-trigger", "no driver has radios start by a trigger yet", "shared", index, "trigger", found=", ".join(group.radios),
                     fix="trigger = false: each starts when it can; or leave this to the emulator, --depth process or nodes")
        for index, group in enumerate(testbed.shared) if group.trigger
    ]  # fmt: skip


def _uncalibrated(scenario: Scenario, testbed: Testbed, nodes: Mapping[str, NodeFile] | None) -> list[InputError]:
    """Arrays whose radiated power is not sure to be legal, for what leaves the port is known from a data sheet only."""
    assert scenario.source is not None
    errors = []
    for index, array in enumerate(scenario.array):
        if array.role != "transmit" or array.element_power_dbm is None:
            continue
        wire = testbed.wire_of(array.name)
        limit = limits(testbed, testbed.radio_named(wire.radio).node, nodes).eirp_dbm
        eirp = array.element_power_dbm + 20.0 * math.log10(array.elements) + wire.antenna_gain_dbi
        if limit is not None and eirp + UNCALIBRATED_DB > limit:
            errors.append(
                scenario.source.error(
                    "no-calibration", f"no `power` record of `{wire.radio}`: what it really sends is known to {UNCALIBRATED_DB:g} dB", "array", index,
                    "element_power_dbm", found=f"{eirp:.1f} dBm EIRP by the data sheet, {eirp + UNCALIBRATED_DB:.1f} at worst",
                    allowed=f"{limit:.1f} dBm", fix=f"element_power_dbm = {array.element_power_dbm - (eirp + UNCALIBRATED_DB - limit):.1f}",
                )
            )  # fmt: skip
    return errors


def open_radio(testbed: Testbed, name: str, clock: Clock, uri: str | None = None) -> Any:
    """The driver's radio (`hil.radios.radio.AdiRadio`), silent. DeviceErrors of `hil.radios.opening.radio`."""
    from hil.radios import opening

    return opening.radio(name, clock, **arguments(testbed, name, uri))


def starting(scenario: Scenario, testbed: Testbed, name: str) -> Setting:
    """What a radio is set to first: the scenario's carrier and rate, the profile's gains."""
    can, gain = testbed.capability(name), testbed.radio_profile(name).gain
    heard, sent = (gain.receive_db,) * can.receive_channels, (gain.attenuation_db,) * can.transmit_channels
    return Setting(scenario.signal.carrier_hz, scenario.signal.sample_rate_hz, heard, sent)


def limits(testbed: Testbed, node: str, files: Mapping[str, NodeFile] | None = None) -> Limits:
    """Licence and node file at once, the tighter of each. files: by name, of those nodes whose file is at hand."""
    licence = Limits(band_hz=testbed.limits.band_hz, eirp_dbm=testbed.limits.eirp_dbm, duty=testbed.limits.duty)
    file = (files or {}).get(node)
    if file is None:
        return licence
    own = file.limits
    keeper = Limits(band_hz=own.band_hz, power_dbm=own.power_dbm, eirp_dbm=own.eirp_dbm, duty=own.duty, temperature_c=own.temperature_c)
    return keeper.tightened(licence)


def antenna_gain_dbi(testbed: Testbed, name: str) -> tuple[float, ...]:
    """Per transmit channel; 0 where nothing is wired."""
    gains = [0.0] * testbed.capability(name).transmit_channels
    for wire in testbed.wire:
        if wire.radio == name:
            for channel in wire.channels:
                if channel < len(gains):
                    gains[channel] = max(gains[channel], wire.antenna_gain_dbi)
    return tuple(gains)


def library_versions() -> dict[str, str]:
    """Of what drivers of radios stand on."""
    from hil.radios import library

    return library.versions()


def require_library() -> None:
    """DeviceError with the remedy where those do not fit together."""
    from hil.radios import library

    library.load()
