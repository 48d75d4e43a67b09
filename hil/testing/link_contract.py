"""What every Link must do, in the words of `hil.link.link.Link`, whatever carries its messages. Plain asserts; no test runner needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from hil.device import Move
from hil.errors import DeviceError, HilError, InputError
from hil.link.link import Link
from hil.testing.radio_contract import middle_setting, tone


class Bench:
    """A link and what hangs on it, found by asking."""

    def __init__(self, link: Link) -> None:
        self.link = link
        described = link.describe()
        self.radios = {name: can for node in described.values() for name, can in node.radios.items()}
        self.transmitters = [name for name, can in self.radios.items() if can.transmit_channels]
        self.receivers = [name for name, can in self.radios.items() if can.receive_channels]
        self.stages = {name: axes for node in described.values() for name, axes in node.stages.items()}
        assert set(described) == set(link.nodes)
        assert self.transmitters and self.receivers and self.stages, "the contract needs a transmitter, a receiver and a stage"

    def configure(self) -> None:
        self.link.configure_all({name: middle_setting(can) for name, can in self.radios.items()})

    def waves(self, *names: str) -> dict[str, np.ndarray]:
        return {name: tone(self.radios[name].transmit_channels) for name in names or self.transmitters}

    def versions(self) -> set[int | None]:
        return {state.version for state in self.link.status().values()}

    def radiating(self) -> set[str]:
        return {name for state in self.link.status().values() for name in state.radiating}


@contextmanager
def refused(id: str, kind: type[HilError] = DeviceError) -> Iterator[None]:
    try:
        yield
    except kind as error:
        assert error.id == id, f"expected {id}, got {error.id}: {error}"
        assert error.what, "an error must say what"
    else:
        raise AssertionError(f"should have been refused: {id}")


def link_contract(make: Callable[[], Link]) -> None:
    """Put the link that `make()` opens through the contract; `make` is called once per rule, on nodes in their first state or cleared."""
    for rule in RULES:
        link = make()
        try:
            rule(Bench(link))
        except AssertionError as error:
            raise AssertionError(f"{rule.__name__.replace('_', ' ')}: {error}") from error
        finally:
            link.close()
            link.close()


def settings_are_read_back(bench: Bench) -> None:
    for name, can in bench.radios.items():
        asked = middle_setting(can)
        became = bench.link.configure(name, asked)
        assert abs(became.carrier_hz - asked.carrier_hz) < 10.0
        assert bench.link.describe() and any(node.settings.get(name) == became for node in bench.link.describe().values())


def a_version_goes_on_the_air_in_two_phases(bench: Bench) -> None:
    bench.configure()
    power = bench.link.prepare(1, bench.waves())
    assert set(power) == set(bench.transmitters)
    for name, values in power.items():
        can = bench.radios[name]
        expected = can.transmit_full_scale_dbm - middle_setting(can).attenuation_db[0] + 20.0 * np.log10(0.3)
        assert np.allclose(values, expected, atol=0.3), f"{name}: {values}, expected {expected}"
    assert bench.radiating() == set(), "prepared is not applied"
    bench.link.apply(1)
    assert bench.radiating() == set(bench.transmitters)
    assert bench.versions() == {1}
    bench.link.prepare(2, bench.waves())
    assert bench.versions() == {1}, "preparing leaves the version in force"
    bench.link.apply(2)
    assert bench.versions() == {2}
    bench.link.mute("test")
    assert bench.radiating() == set() and bench.versions() == {None}


def captures_name_the_version_in_force(bench: Bench) -> None:
    bench.configure()
    counts = {name: 1000 + 8 * index for index, name in enumerate(bench.receivers)}
    for capture in bench.link.capture(counts, "idle").values():
        assert capture.version is None
    bench.link.prepare(7, bench.waves())
    bench.link.apply(7)
    captures = bench.link.capture(counts, "measure")
    assert set(captures) == set(counts)
    for name, capture in captures.items():
        assert capture.version == 7, "receivers on silent nodes name it as well"
        assert capture.device == name
        assert capture.samples.shape == (bench.radios[name].receive_channels, counts[name])
        assert capture.samples.dtype == np.complex64
        codes = capture.samples.view(np.float32) * capture.full_scale
        assert np.array_equal(codes, np.rint(codes)), "codes arrive as codes"


def setting_a_receive_gain_leaves_the_version_in_force(bench: Bench) -> None:
    bench.configure()
    bench.link.prepare(1, bench.waves())
    bench.link.apply(1)
    name = next((name for name in bench.receivers if name not in bench.transmitters), None)
    if name is not None:
        bench.link.configure(name, middle_setting(bench.radios[name]))
        assert bench.link.capture({name: 100})[name].version == 1
    assert bench.versions() == {1}


def a_radio_that_is_not_named_is_silent(bench: Bench) -> None:
    bench.configure()
    bench.link.prepare(1, bench.waves())
    bench.link.apply(1)
    alone = bench.transmitters[0]
    bench.link.prepare(2, bench.waves(alone))
    bench.link.apply(2)
    assert bench.radiating() == {alone}
    bench.link.prepare(3, {})
    bench.link.apply(3)
    assert bench.radiating() == set() and bench.versions() == {3}


def one_bad_waveform_stops_all(bench: Bench) -> None:
    bench.configure()
    bench.link.prepare(1, bench.waves())
    bench.link.apply(1)
    waves = bench.waves()
    waves[bench.transmitters[-1]][0, 3] = np.nan
    with refused("not-finite"):
        bench.link.prepare(2, waves)
    assert bench.radiating() == set(), "a refusal mutes all"
    with refused("not-loaded"):
        bench.link.apply(2)
    waves[bench.transmitters[-1]][0, 3] = 1.5
    with refused("over-full-scale"):
        bench.link.prepare(3, waves)


def more_power_than_stated_is_refused(bench: Bench) -> None:
    bench.configure()
    name = bench.transmitters[0]
    power = bench.link.prepare(1, bench.waves(name))
    bench.link.prepare(2, bench.waves(name), power)
    with refused("power-mismatch"):
        bench.link.prepare(3, bench.waves(name), {name: [value - 3.0 for value in power[name]]})


def changing_the_attenuation_forgets_what_was_checked(bench: Bench) -> None:
    bench.configure()
    name = bench.transmitters[0]
    bench.link.prepare(1, bench.waves(name))
    setting = middle_setting(bench.radios[name])
    louder = type(setting)(setting.carrier_hz, setting.sample_rate_hz, setting.receive_gain_db, (0.0,) * len(setting.attenuation_db))
    bench.link.configure(name, louder)
    with refused("not-loaded"):
        bench.link.apply(1)


def stages_move_and_say_where_they_are(bench: Bench) -> None:
    here = bench.link.where(list(bench.stages))
    moves = {}
    for name, axes in bench.stages.items():
        up = all(here[name].axes[axis] + 0.01 <= most for axis, (_, most) in axes.items())
        targets = {axis: here[name].axes[axis] + (0.01 if up else -0.01) for axis in axes}
        moves[name] = Move(targets, 0.1, 0.5)
    there = bench.link.move(moves)
    for name, position in there.items():
        for axis, target in moves[name].targets.items():
            assert abs(position.axes[axis] - target) < 1e-3 + 5.0 * position.std[axis]
        if position.at is not None and (before := here[name].at) is not None:
            assert position.at.since(before) > 0.0
    now = bench.link.where(list(bench.stages))
    assert all(abs(now[n].axes[a] - there[n].axes[a]) < 1e-3 for n in bench.stages for a in bench.stages[n])


def a_move_beyond_travel_moves_nothing(bench: Bench) -> None:
    name, axes = next(iter(bench.stages.items()))
    before = bench.link.where([name])[name].axes
    axis, (_, most) = next(iter(axes.items()))
    with refused("beyond-travel"):
        bench.link.move({name: Move({axis: most + 0.05}, 0.1, 0.5)})
    with refused("not-finite"):
        bench.link.move({name: Move({axis: float("nan")}, 0.1, 0.5)})
    after = bench.link.where([name])[name].axes
    assert all(abs(after[a] - before[a]) < 1e-3 for a in axes)


def what_is_not_there_is_refused(bench: Bench) -> None:
    with refused("no-such-device", InputError):
        bench.link.capture({"nobody": 10})
    bench.configure()
    with refused("not-loaded"):
        bench.link.apply(99)


RULES = (
    settings_are_read_back, a_version_goes_on_the_air_in_two_phases, captures_name_the_version_in_force,
    setting_a_receive_gain_leaves_the_version_in_force, a_radio_that_is_not_named_is_silent,
    one_bad_waveform_stops_all, more_power_than_stated_is_refused, changing_the_attenuation_forgets_what_was_checked,
    stages_move_and_say_where_they_are, a_move_beyond_travel_moves_nothing, what_is_not_there_is_refused,
)  # fmt: skip
