"""Addresses, and what is said when nobody listens there."""

from __future__ import annotations

import socket

import pytest

from hil.device import DeviceError
from hil.radios.address import host_and_port, require_listener


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("ip:192.168.2.1", ("192.168.2.1", 30431)), ("ip:pluto.local:1234", ("pluto.local", 1234)), ("ip:[::1]:99", ("::1", 99)),
        ("ip:fe80::1", ("fe80::1", 30431)), ("ip:[fe80::1]", ("fe80::1", 30431)), ("usb:1.5.5", None), ("local:", None),
    ],
)  # fmt: skip
def test_where_an_address_leads(uri: str, place: tuple[str, int] | None) -> None:
    assert host_and_port(uri) == place


@pytest.mark.parametrize("uri", ["", "192.168.2.1", "ip:", "usb:", "tcp://a:1", "ip:host:port", "ip:host:70000", "ip:[::1", "ip:[::1]9"])
def test_what_is_no_address(uri: str) -> None:
    with pytest.raises(ValueError):
        host_and_port(uri)
    with pytest.raises(DeviceError) as caught:
        require_listener("pluto-a", uri, 0.1)
    assert caught.value.id == "bad-address" and caught.value.where == "pluto-a"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"ip:127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DeviceError) as caught:
        require_listener("pluto-a", uri, 1.0)
    error = caught.value
    assert (error.id, error.where) == ("nobody-listens", f"pluto-a {uri}") and "refused" in error.found and "hil doctor" in error.fix


def test_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_listener("pluto-a", f"ip:127.0.0.1:{server.getsockname()[1]}", 1.0)
