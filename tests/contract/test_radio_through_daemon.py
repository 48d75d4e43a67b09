"""The driver of real radios, through the emulated daemon: every part keeps the contract, over the bytes a real one would see."""

from __future__ import annotations

import time

import pytest
from daemon_bench import opened, require_libiio, site

from hil.testing import radio_contract
from sim_backend.iiod.daemon import Daemon

pytestmark = pytest.mark.usefixtures("libiio")


@pytest.fixture(scope="module")
def libiio() -> None:
    require_libiio()


def assert_let_go(daemon: Daemon) -> None:
    """The daemon notices the end of a connection a moment after it."""
    deadline = time.monotonic() + 2.0
    while daemon.clients and time.monotonic() < deadline:
        time.sleep(0.01)
    assert daemon.clients == 0, "every connection was let go"


@pytest.mark.parametrize("part", ["pluto", "ad9361", "fmcomms5", "ad9081"])
def test_the_contract_of_any_radio(part: str) -> None:
    with Daemon(site(part)) as daemon:
        radio_contract(lambda: opened(daemon, "a", part))
        assert_let_go(daemon)
