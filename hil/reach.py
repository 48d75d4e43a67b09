"""The radios of a testbed opened by their driver: what the driver is told, and the limits they are held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hil.clock import Clock
from hil.device import Setting
from hil.envelope import Limits
from hil.errors import InputError
from hil.scenario import Scenario
from hil.testbed import NodeFile, Testbed

DRIVER = "hil.radios.opening:radio"  # as a node's plan names it


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
