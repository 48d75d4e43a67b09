"""A clock that stands still for whoever computes or oversleeps: nobody finds it beyond what was waited for, and readings are told apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hil import clock
from hil.clock import Instant
from sim_backend.iiod import pace
from sim_backend.iiod.pace import PatientPace


class Machine:
    """The machine's monotonic clock, moved by hand."""

    seconds = 100.0

    def monotonic_ns(self) -> int:
        return round(self.seconds * 1e9)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds + self.late

    late = 0.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    one = Machine()
    monkeypatch.setattr(clock, "time", one)
    monkeypatch.setattr(pace, "time", one)
    yield one


def test_it_goes_with_the_machine_while_nobody_computes(machine: Machine) -> None:
    patient = PatientPace()
    machine.seconds += 3.25
    assert patient.now().seconds == pytest.approx(3.25, abs=1e-9) and patient.world(Instant(2, 0.5)) == Instant(2, 0.5)


def test_it_goes_no_further_than_was_asked_while_somebody_computes(machine: Machine) -> None:
    patient = PatientPace()
    machine.seconds += 1.0
    with patient.computing(Instant(1, 0.25)):
        machine.seconds += 0.125
        assert patient.now().seconds == pytest.approx(1.125, abs=1e-9)
        with patient.computing(Instant(9, 0.0)):
            machine.seconds += 2.0
        assert patient.now() == Instant(1, 0.25)
    machine.seconds += 1.0
    assert patient.now().seconds == pytest.approx(2.25, abs=1e-9), "it goes on from where it stood"
    # the machine showed 1.25 ... 3.125 while it stood at 1.25
    for shown, there in ((0.5, 0.5), (1.2, 1.2), (1.25, 1.25), (2.0, 1.25), (3.1, 1.25), (3.625, 1.75)):
        assert patient.world(Instant.of(shown)).seconds == pytest.approx(there, abs=1e-9), shown


def test_one_who_oversleeps_finds_the_instant_that_was_waited_for(machine: Machine) -> None:
    patient, machine.late = PatientPace(), 0.5
    until = Instant(0, 0.03125)
    assert patient.wait(lambda: until, lambda: False, None) and patient.now() == until
    patient.sleep(0.25)
    assert patient.now().seconds == pytest.approx(0.28125, abs=1e-6) and machine.seconds > 100.9


def test_one_who_gives_up_holds_nobody(machine: Machine) -> None:
    patient = PatientPace()
    assert not patient.wait(lambda: Instant(5, 0.0), lambda: machine.seconds > 101.0, None)
    machine.seconds = 110.0
    assert patient.now().seconds == pytest.approx(10.0, abs=1e-9)


def test_it_never_runs_backwards_whoever_looks(machine: Machine) -> None:
    patient = PatientPace()
    seen: list[tuple[int, Instant]] = []

    def look(who: int) -> None:
        for _ in range(200):
            with patient.computing(patient.now()):
                machine.seconds += 1e-3
            seen.append((who, patient.now()))

    threads = [threading.Thread(target=look, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    for one in range(3):
        mine = [at for who, at in seen if who == one]
        assert mine == sorted(mine) and len(mine) == 200
