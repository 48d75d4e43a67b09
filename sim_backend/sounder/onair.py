"""The bench a user gives, measured over its own air: every receiver idle, then every transmitter to every receiver.

Each transmit element sends a tone of its own. At a receive antenna the tones, the transmitter's images and leakage, the receiver's images
and its offset are lines at different frequencies, once the carriers' difference is tracked; their amplitudes fall out of one least-squares
fit and are held against geometry and chains as the truth has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.clock import Instant, VirtualClock
from hil.device import Setting
from hil.units import from_dbm, to_dbm
from sim_backend.sounder.budget import NOTHING_DB, Budget
from sim_backend.sounder.cable import window
from sim_backend.sounder.estimate import phases, straight, strongest
from sim_backend.sounder.line import Line
from sim_backend.sounder.tones import THERMAL_DBM_HZ
from sim_backend.sounder.waveform import tones
from sim_backend.world import World, build

Complex = NDArray[np.complex128]
PERIOD, FIRST_BIN, NEXT_BIN = 1024, 90, 23
SAMPLES, REACH = 200 * PERIOD, 2048
LEVEL = 0.5
SILENT_DB = -80.0  # an imperfection below this is not there
APART = 8.0  # turns of the carriers' difference in a capture, from which images of both ends can be told apart


@dataclass(frozen=True, eq=False)
class Link:
    """One capture of one transmitter's tones. amplitudes: name -> (channel, element or one) square-root watts at the port, nominal gain."""

    transmitter: str
    receiver: str
    amplitudes: Mapping[str, Complex]
    carrier_hz: float
    carrier_truth_hz: float
    at: Instant
    turns: float  # of the carriers against each other during the capture

    @property
    def name(self) -> str:
        return f"{self.transmitter} > {self.receiver}"


def measure(site: Mapping[str, Any], rate: float, retained_db: float = NOTHING_DB) -> tuple[list[Line], dict[str, Budget]]:
    """The worst line of every quantity and device of a bench, and the error budget of each link. Nobody walks while it is sounded (an
    echo that moves bends every carrier), and faults of the table are left out."""
    emulated = {key: value for key, value in site["emulated"].items() if key not in ("fault", "target")}
    world = build({**site, "targets": (), "emulated": emulated}, VirtualClock())
    hearing = [name for name in world.radios if _antennas(world, name, "receive")]
    for name in world.radios:
        _set(world, name, site["carrier_hz"], rate, 50.0)
    lines = [line for name in hearing for line in _idle(world, name, rate)]
    heard: dict[str, list[Link]] = {}
    budgets = {}
    for transmitter in world.radios:
        elements = _antennas(world, transmitter, "transmit")
        others = [name for name in hearing if name != transmitter]
        if not elements or not others:
            continue
        _radiate(world, transmitter)
        links = [_hear(world, transmitter, name, rate) for name in others]
        world.radio(transmitter).mute()
        judged = []
        for link in links:
            delay = world.truth.rays(transmitter, link.receiver).delay
            used = 2 * _bin(elements) / PERIOD * rate
            budgets[link.name] = Budget.of(world, (transmitter, link.receiver), rate, used, spread_s=float(np.ptp(delay)), retained_db=retained_db)
            judged.append(_judge(world, link, budgets[link.name], rate))
            heard.setdefault(link.receiver, []).append(link)
        lines += [worst(column) for column in zip(*judged)]
        lines += _ports(world, links, rate)
    return lines + [line for name, found in heard.items() for line in _image(world, name, found)], budgets


def worst(lines: Iterable[Line]) -> Line:
    """The line nearest to failing, or furthest beyond."""
    return max(lines, key=lambda line: (line.difference if line.at_most else abs(line.difference) / line.tolerance, line.where))


def _radiate(world: World, transmitter: str) -> None:
    radio = world.radio(transmitter)
    waveform = np.zeros((radio.capability.transmit_channels, PERIOD), complex)
    for e, channel in enumerate(world.channels(transmitter, "transmit")):
        waveform[channel] = tones({_bin(e): LEVEL}, PERIOD)
    radio.load(1, waveform.astype(np.complex64))
    radio.apply(1)
    world.advance(2e-3)


def _bin(element: int) -> int:
    return FIRST_BIN + NEXT_BIN * element


def _antennas(world: World, name: str, side: str) -> int:
    return len(world.channels(name, side))


def _set(world: World, name: str, carrier: float, rate: float, gain_db: float) -> None:
    limits = world.radio(name).capability
    gain = min(max(gain_db, limits.receive_gain_db[0]), limits.receive_gain_db[1])
    world.radio(name).configure(Setting(carrier, rate, (gain,) * limits.receive_channels, (limits.attenuation_db[0],) * limits.transmit_channels))


def _idle(world: World, name: str, rate: float) -> Iterator[Line]:
    """Noise figure and offset of the worst channel of a silent room."""
    radio = world.radio(name)
    capture = radio.capture(SAMPLES, 10.0)
    front = world.front(name, capture.gain_db)
    samples = capture.samples.astype(complex)
    offset = samples.mean(axis=1)
    noise = (np.abs(samples - offset[:, None]) ** 2).mean(axis=1) - 1.0 / (6.0 * capture.full_scale**2)
    watts = noise / np.abs(front.scale * front.small_signal) ** 2
    figures = np.array([to_dbm(float(w)) for w in watts]) - 10 * math.log10(rate) - THERMAL_DBM_HZ
    truths = np.array([world.emulated.receiver.noise_figure_db + max(0.0, 40.0 - gain) / 2.0 for gain in capture.gain_db])
    worst = int(np.argmax(np.abs(figures - truths)))
    yield Line("noise figure", f"{name}.{worst}", float(truths[worst]), float(figures[worst]), 0.1, "dB")
    tuning, first = window(world, name, SAMPLES)
    wanted = np.abs(front.offsets(first - first % 1024, SAMPLES // 1024, tuning.rate)).mean(axis=1)
    worst = int(np.argmax(np.abs(offset)))
    yield _spur("DC offset", f"{name}.{worst}", float(wanted[worst]), float(abs(offset[worst])), "dBFS")


def _spur(quantity: str, where: str, truth: float, measured: float, unit: str) -> Line:
    """Amplitudes in decibels; one that should not be there at all has only to stay below SILENT_DB + 20."""
    found, wanted = (20 * math.log10(max(value, 1e-10)) for value in (measured, truth))
    if wanted < SILENT_DB:
        return Line(quantity, where, SILENT_DB + 20.0, found, 0.0, unit, at_most=True)
    return Line(quantity, where, wanted, found, 0.5, unit)


def _hear(world: World, transmitter: str, receiver: str, rate: float) -> Link:
    """Gain chosen so that nothing clips, one capture, one fit per antenna."""
    carrier = world.radio(receiver).setting.carrier_hz  # type: ignore[union-attr]
    for gain in (60.0, 50.0, 40.0, 30.0, 20.0, 10.0, 0.0):
        _set(world, receiver, carrier, rate, gain)
        trial = world.radio(receiver).capture(4096, 10.0)
        if max(np.abs(trial.samples.real).max(), np.abs(trial.samples.imag).max()) < 0.5:
            break
    capture = world.radio(receiver).capture(SAMPLES, 10.0)
    full = np.sqrt(from_dbm(world.radio(receiver).capability.receive_full_scale_dbm - np.array(capture.gain_db)))
    channels = world.channels(receiver, "receive")
    port = (capture.samples.astype(complex) * full[:, None])[channels]
    best = port[int(np.argmax((np.abs(port) ** 2).sum(axis=1)))]
    elements = _antennas(world, transmitter, "transmit")
    n = np.arange(SAMPLES)
    coarse = strongest(best)
    own = min((_bin(e) / PERIOD for e in range(elements)), key=lambda cycles: abs(cycles - coarse))
    place, phase = phases(best, coarse, REACH)
    u = (place - SAMPLES / 2) / SAMPLES
    smooth = np.polynomial.Polynomial.fit(u, phase, 4, domain=[-0.5, 0.5])
    measured_hz = (straight(place, phase)[0] / (2 * math.pi) + coarse - own) * rate
    _, first = window(world, receiver, SAMPLES)
    tx, rx = world.oscillators[transmitter], world.oscillators[receiver]
    instants = [rx.tick(first + int(p), int(rate)) for p in place]
    x = np.array([tx.error(at)[0] - rx.error(at)[0] for at in instants])
    middle = rx.tick(first + SAMPLES // 2, int(rate))
    y = tx.error(middle)[1] - rx.error(middle)[1]
    truth_hz = straight(place / rate, carrier * x)[0] + own * rate * y
    carriers = np.exp(1j * (smooth((n - SAMPLES / 2) / SAMPLES) + 2 * np.pi * (((coarse - own) * n - own * y * (n - SAMPLES / 2)) % 1.0)))
    lines = [np.exp(2j * np.pi * ((_bin(e) / PERIOD * (n + (n - SAMPLES / 2) * y)) % 1.0)) for e in range(elements)]
    parts = {
        "tone": [carriers * line for line in lines],
        "transmit image": [carriers * line.conj() for line in lines],
        "leakage": [carriers],
        "receive image": [(carriers * line).conj() for line in lines],
        "offset": [np.ones(SAMPLES, complex)],
    }
    regressors = np.stack([column for columns in parts.values() for column in columns], axis=1)
    conjugate = regressors.conj().T
    fitted = np.linalg.solve(conjugate @ regressors, conjugate @ port.T).T
    ends = np.cumsum([len(columns) for columns in parts.values()])
    amplitudes = {name: fitted[:, end - len(columns) : end] for (name, columns), end in zip(parts.items(), ends)}
    return Link(transmitter, receiver, amplitudes, measured_hz, truth_hz, middle, abs(truth_hz) * SAMPLES / rate)


def _way(world: World, link: Link, rate: float, sign: int) -> Complex:
    """(antenna, element) transfer at each element's own tone, chains' delays in it and their gains not. sign -1: at the tones' images."""
    delay, gain = world.truth.rays(link.transmitter, link.receiver, link.at)
    base = world.room.carrier * (1.0 + world.truth.oscillator(link.transmitter, link.at)[1])
    f = base + sign * np.array([_bin(e) / PERIOD * rate for e in range(delay.shape[2])])
    return (gain * np.exp(-2j * np.pi * ((f * delay) % 1.0))).sum(axis=0)


def _chains(world: World, link: Link) -> tuple[Any, Any]:
    """What went on the air with, and what it was heard with."""
    setting = world.radio(link.receiver).setting
    assert setting is not None
    return world.airings()[-1].chains, world.front(link.receiver, setting.receive_gain_db)


def _sent(world: World, link: Link) -> float:
    """Nominal square-root watts of an element's tone."""
    capability = world.radio(link.transmitter).capability
    return LEVEL * math.sqrt(from_dbm(capability.transmit_full_scale_dbm - capability.attenuation_db[0]))


def _judge(world: World, link: Link, arithmetic: Budget, rate: float) -> list[Line]:
    """Carrier offset and the matrix of all antennas."""
    chains, front = _chains(world, link)
    kept = front.small_signal[world.channels(link.receiver, "receive")]
    matrix = kept[:, None] * _way(world, link, rate, +1) * chains.small_signal * _sent(world, link)
    tone = link.amplitudes["tone"]
    error = np.sqrt(((np.abs(tone) - np.abs(matrix)) ** 2).mean() / (np.abs(matrix) ** 2).mean())
    found = 20 * math.log10(float(error))
    hertz, degrees = arithmetic.hertz(SAMPLES / rate), arithmetic.degrees
    return [
        Line("carrier offset", link.name, link.carrier_truth_hz, link.carrier_hz, 0.1, "Hz").against(hertz, arithmetic.worst),
        Line("gains of antenna pairs", link.name, -55.0, found, 0.0, "dB", at_most=True).against(arithmetic.steady_db, arithmetic.worst),
        Line("phases between antennas", link.name, 0.0, _common(tone, matrix), 0.5, "deg").against(degrees, arithmetic.worst),
    ]  # fmt: skip


def _image(world: World, name: str, links: Iterable[Link]) -> Iterator[Line]:
    """A receiver's image on its worst channel, all tones of all links together where the carriers tell it from the transmitters' own."""
    apart = [link for link in links if link.turns > APART]
    if not apart:
        return
    product = sum((link.amplitudes["receive image"] * link.amplitudes["tone"]).sum(axis=1) for link in apart)
    found = np.abs(product / sum((np.abs(link.amplitudes["tone"]) ** 2).sum(axis=1) for link in apart))
    setting = world.radio(name).setting
    assert setting is not None
    channels = world.channels(name, "receive")
    truths = np.abs(world.front(name, setting.receive_gain_db).image)[channels]
    yield worst(_spur("receive image", f"{name}.{c}", float(truth), float(value), "dBc") for c, truth, value in zip(channels, truths, found))


def _common(tone: Complex, matrix: Complex) -> float:
    """Largest phase, degrees, that no phase per element (start and clock) explains, where a pair is not in a fade."""
    if tone.shape[0] == 1:
        return 0.0
    ratio = tone * matrix.conj()
    ratio = ratio * np.exp(-1j * np.angle(ratio.sum(axis=0)))
    strong = np.abs(matrix) > 0.3 * np.sqrt((np.abs(matrix) ** 2).mean())
    angles = np.degrees(np.angle(ratio))[strong]
    return float(angles[np.argmax(np.abs(angles))]) if angles.size else 0.0


def _ports(world: World, links: list[Link], rate: float) -> Iterator[Line]:
    """Port power of the transmitter's worst element, by the receiver that hears it best; its worst image likewise; its leakage, where it
    is heard best."""
    sent = _sent(world, links[0])
    best: dict[int, tuple[float, Line]] = {}
    images: dict[int, tuple[float, Line]] = {}
    for link in links:
        chains, front = _chains(world, link)
        kept = front.small_signal[world.channels(link.receiver, "receive")][:, None]
        way, tone = kept * _way(world, link, rate, +1), link.amplitudes["tone"]
        for e in range(tone.shape[1]):
            r = int(np.argmax(np.abs(way[:, e])))
            truth, port = (to_dbm(float(abs(x)) ** 2) for x in (sent * chains.small_signal[e], tone[r, e] / way[r, e]))
            line = Line("port power", f"{link.transmitter}.{e}", truth, port, 0.1, "dBm")
            best[e] = max(best.get(e, (0.0, line)), (float(abs(tone[r, e])), line), key=lambda pair: pair[0])
        if link.turns > APART:
            mirror = kept * _way(world, link, rate, -1) * np.conj(tone / way)  # the mirrored tone of each element as it would be heard
            power = (np.abs(mirror) ** 2).sum(axis=0)
            ratio = np.abs((link.amplitudes["transmit image"] * mirror.conj()).sum(axis=0)) / power
            for e, value in enumerate(ratio):
                line = _spur("transmit image", f"{link.transmitter}.{e}", float(abs(chains.image[e])), float(value), "dBc")
                images[e] = max(images.get(e, (0.0, line)), (float(power[e]), line), key=lambda pair: pair[0])
    yield worst(line for _, line in best.values())
    loud = [link for link in links if link.turns > APART]
    if loud:
        yield worst(line for _, line in images.values())
        yield _leakage(world, max(loud, key=lambda link: float(np.abs(link.amplitudes["tone"]).max())), sent / LEVEL)


def _leakage(world: World, link: Link, full: float) -> Line:
    """Leakage of all elements together at the antenna that should hear most of it, against full scale of them all. full: square-root watts
    at a port of an element's full scale."""
    chains, front = _chains(world, link)
    kept = front.small_signal[world.channels(link.receiver, "receive")]
    delay, gain = world.truth.rays(link.transmitter, link.receiver, link.at)
    centre = kept[:, None] * (gain * np.exp(-2j * np.pi * ((world.room.carrier * delay) % 1.0))).sum(axis=0)
    wanted = np.abs((centre * (chains.leakage * chains.gain * full)).sum(axis=1))
    r = int(np.argmax(wanted))
    reference = full * float(np.linalg.norm(centre[r]))
    found = float(abs(link.amplitudes["leakage"][r, 0]))
    return _spur("leakage heard", f"{link.name}.{r}", float(wanted[r]) / reference, found / reference, "dBc")
