"""What a run would do, from its files alone: nothing is opened. Times and volumes are estimates from above, rounded."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from hil.files import BenchFiles
from hil.scenario import Array
from hil.testbed import Wire

# Lengths of the frames in OFDM symbols: a sounding frame is its preamble and pilots, a measuring frame has the payload as well. Exploring
# visits at most this many places, and each capture takes two periods of its frame because it starts anywhere.
SOUNDING_SYMBOLS, MEASURING_OVERHEAD, VISITS = 28, 12, 9
SYMBOL_S = 548 / 15.36e6  # 512 + 36 samples at 15.36 MS/s, or as many more at a higher rate
COMPUTING_S = 2.0  # declared for estimating and designing in one round


@dataclass(frozen=True)
class Plan:
    """devices: radios and stages; rounds: at most, baselines in them; bytes: of captures; air: seconds of transmission of one array."""

    devices: int
    rounds: int
    seconds: float
    bytes: float
    air: float
    metres: float

    @property
    def duty(self) -> float:
        """Share of the time on the air, of the busiest transmitter."""
        return min(1.0, self.air / self.seconds) if self.seconds > 0.0 else 0.0

    def line(self, runs: Path) -> str:
        """One line, as `hil run --plan` prints it."""
        free = shutil.disk_usage(next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())).free
        return (
            f"plan: {self.devices} devices, at most {self.rounds} rounds, about {_round_up(self.seconds)} s virtual, "
            f"{_gigabytes(self.bytes)} GB of captures, {free / 1e9:.0f} GB free"
        )


def plan(bench: BenchFiles) -> Plan:
    """The plan of a whole run."""
    scenario, testbed = bench.scenario, bench.testbed
    if scenario.cell:
        return _of_cells(bench)
    visits = VISITS if any(wire.moving for wire in testbed.wire) else 1
    pushes = len(scenario.design.baselines) + scenario.rounds.max
    senders = len(scenario.transmitters)
    channels = sum(testbed.capability(radio).receive_channels for radio in {wire.radio for wire in testbed.wire})
    symbol = SYMBOL_S * scenario.signal.sample_rate_hz
    sounding = 2 * SOUNDING_SYMBOLS * symbol
    measuring = 2 * (MEASURING_OVERHEAD + scenario.signal.payload_symbols) * symbol
    samples = (visits + pushes) * senders * sounding + pushes * measuring
    moves = visits + pushes
    travel = sum(_mean_move(bench, wire) for wire in testbed.wire)
    slowest = max((_move_time(bench, wire) for wire in testbed.wire), default=0.0)
    air = (visits + pushes) * sounding + pushes * measuring
    rate = scenario.signal.sample_rate_hz
    return Plan(
        devices=len(testbed.radio) + len(testbed.stage),
        rounds=scenario.rounds.max,
        seconds=moves * slowest + pushes * COMPUTING_S + samples / rate,
        bytes=4.0 * channels * samples,
        air=air / rate,
        metres=moves * travel,
    )


def _of_cells(bench: BenchFiles) -> Plan:
    """Of several cells: nothing moves, users listen to every sounding, base stations to themselves for as long as a walk takes to be seen."""
    from hil.loop.cells.carrier import USER_TURNS
    from hil.loop.measuring import ECHO_S, USER_FRAMES
    from hil.loop.sounding import FRAMES, IDLE_SAMPLES, LOOKS, Speaker

    scenario, testbed = bench.scenario, bench.testbed
    rate, pushes = scenario.signal.sample_rate_hz, len(scenario.design.baselines) + scenario.rounds.max
    symbol = SYMBOL_S * rate
    sending = [array for array in scenario.array if array.name in {cell.transmit for cell in scenario.cell}]
    radios = {testbed.wire_of(array.name).radio for array in sending}
    together = any(radios <= set(shared.radios) and shared.reference and shared.trigger for shared in testbed.shared)
    speakers = [Speaker("stations", tuple(sending))] if together else [Speaker(array.name, (array,)) for array in sending]  # type: ignore[arg-type]
    sounded = sum(FRAMES * speaker.symbols + 2 for speaker in speakers) * symbol
    levelled = sum(speaker.symbols for speaker in speakers) * symbol
    frame = (MEASURING_OVERHEAD + scenario.signal.payload_symbols) * symbol  # a single carrier's is shorter, and captured more often
    turns = max(USER_FRAMES, USER_TURNS * (scenario.design.waveform == "single-carrier"))
    user, station = min(turns * frame, ECHO_S * rate + frame) + 2 * symbol, ECHO_S * rate + frame
    listening = {testbed.wire_of(array.name).radio for array in scenario.sensors}
    channels = {wire.radio: testbed.capability(wire.radio).receive_channels for wire in testbed.wire}
    samples = sum(
        count * (levelled + IDLE_SAMPLES + pushes * (station if radio in listening else LOOKS * sounded + user)) for radio, count in channels.items()
    )
    air = levelled + pushes * (LOOKS * sounded + station)
    return Plan(
        devices=len(testbed.radio) + len(testbed.stage), rounds=scenario.rounds.max, seconds=pushes * COMPUTING_S + air / rate, bytes=4.0 * samples,
        air=air / rate, metres=0.0,
    )  # fmt: skip


def _mean_move(bench: BenchFiles, wire: Wire) -> float:
    """Metres that all elements of a wire go in one ordinary move: a third of their way."""
    return sum(high - low for low, high in bench.testbed.reach(wire)) / 3.0


def _move_time(bench: BenchFiles, wire: Wire) -> float:
    """Seconds of an ordinary move, ramps and settling included."""
    if wire.stage is None:
        return 0.0
    profile = bench.testbed.stage_profile(wire.stage)
    times = [profile.arrival.settle]
    for element, (low, high) in zip(wire.elements, bench.testbed.reach(wire)):
        if element.axis is not None:
            axis = profile.axis[element.axis]
            times.append((high - low) / 3.0 / axis.speed + axis.speed / axis.acceleration + profile.arrival.settle)
    return max(times)


def _round_up(seconds: float) -> int:
    """To one or two digits that read well: 47 -> 50, 8.2 -> 9."""
    step = 10 if seconds > 20 else 1
    return math.ceil(seconds / step) * step


def _gigabytes(size: float) -> str:
    return f"{max(size / 1e9, 0.1):.1f}"


# -- over the air -----------------------------------------------------------------------------------------------------------------------


def radiates(bench: BenchFiles, planned: Plan) -> list[str]:
    """What would be sent, one line per transmit array, against the licence."""
    lines = []
    limits = bench.testbed.limits
    source = bench.testbed.source
    where = f"testbed.toml:{source.line('limits')}" if source is not None else "testbed.toml"
    for array in bench.scenario.transmitters:
        wire = bench.testbed.wire_of(array.name)
        power = array.element_power_dbm or 0.0
        together, gain = 20 * math.log10(array.elements), wire.antenna_gain_dbi
        phase = f" + {together:.1f} dB ({array.elements} in phase)" if array.elements > 1 else ""
        ports = " ".join(f"tx{channel}" for channel in wire.channels)
        lines.append(
            f"{wire.radio} {ports}  {bench.scenario.signal.carrier_hz / 1e9:.3f} GHz, at most {power:.1f} dBm "
            f"{'+' if gain >= 0 else '-'} {abs(gain):.1f} dBi{phase} = {power + gain + together:.1f} dBm EIRP "
            f"(limit {limits.eirp_dbm:.1f}), "
            f"duty {100 * planned.duty:.0f} % (limit {100 * limits.duty:.0f} %; both {where})"
        )
    return lines


def moves(bench: BenchFiles, planned: Plan) -> list[str]:
    """What would travel, one line per axis."""
    lines = []
    for array in bench.scenario.array:
        wire = bench.testbed.wire_of(array.name)
        for place, element in enumerate(wire.elements):
            if element.axis is None or element.stage is None:
                continue
            axis = bench.testbed.stage_profile(element.stage).axis[element.axis]
            low, high = _part_of_rail(bench, array, wire, place)
            ends = sorted((x - element.offset) * element.sign * 1e3 for x in (low, high))
            lines.append(
                f"{element.stage} {element.axis}  {ends[0]:.0f} ... {ends[1]:.0f} mm "
                f"of {axis.travel_mm[0]:.0f} ... {axis.travel_mm[1]:.0f}, at most {axis.speed_mm_s:.0f} mm/s"
            )
    if lines:
        lines[-1] += f", about {planned.metres:.1f} m in all"
    return lines


def _part_of_rail(bench: BenchFiles, array: Array, wire: Wire, place: int) -> tuple[float, float]:
    """Local x between which one element stays: neighbours keep their gap to both ends."""
    low, high = array.travel(bench.scenario.wavelength)
    gap = max(array.min_spacing(bench.scenario.wavelength), bench.testbed.carriage(wire))
    return low + place * gap, high - (array.elements - 1 - place) * gap
