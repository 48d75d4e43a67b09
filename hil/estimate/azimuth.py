"""Azimuth of a walking target at its own base station, from one capture while all base stations transmit; with the gains of its echoes.

Joint maximum likelihood over the targets of all cells, which every receive array hears: 50 ms resolve 20 Hz and walkers differ by less, so
no peak is picked on its own. What stands still is projected out, priors of places hold the nuisances, gains are eliminated. `Estimate`s
carry the bound of the model fitted, clutter, phases, Dopplers and the other targets included; `ideal` is the bound a design is made for,
with nothing but one target and noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hil.clock import Instant
from hil.errors import InputError
from hil.estimate.anglebound import azimuth_bound
from hil.estimate.clutter import Cleared, Terms, clear
from hil.estimate.echofields import TERMS, Chains, Fields, Spread
from hil.estimate.slowtime import SlowTime
from hil.estimate.stations import Prior, Station
from hil.knowledge import Estimate
from hil.units import SPEED_OF_LIGHT

__all__ = ["Bearing", "Settings", "bearing"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How targets are looked for."""

    reach: float = 3.0  # standard deviations of the prior that are searched
    speed: float = 2.0  # m/s, the fastest target looked for
    speed_std: float = 1.0  # m/s, prior of what each echo's Doppler tells
    start_std: float = 0.0  # seconds, of the frames' start; a sample over root 12 where it is only known so well
    turn_std: float = 0.5  # m/s^2, by which a walker changes his speed
    jerk_std: float = 0.5  # m/s^3, by which he changes that
    least_snr_db: float = 13.0  # integrated, after what stands still was removed
    most_loss_db: float = 10.0  # a target that walks along every ellipse hides behind the room
    starts: int = 2  # lobes that are refined
    ambiguity: float = 4.6  # log-likelihood distance below which two lobes are not told apart


@dataclass(frozen=True, slots=True, eq=False)
class Bearing:
    """One station's own target. azimuth: value (1,) rad at the middle of the capture. gains: value (transmitter,) alpha of its echoes, from
    there by the target to here, covariance of Re and Im interleaved; no power is in them that was sent. dopplers, departures: (transmitter,)
    Hz, rad. all_azimuths: (target,) what was fitted, own first. ideal: (rad^2) bound of section "Fisher information" at the waveform sent,
    all echoes known; ideal_alone: others' echoes as noise.
    """

    azimuth: Estimate
    gains: Estimate
    dopplers: Estimate
    departures: Estimate
    all_azimuths: NDArray[np.float64]
    ideal: float
    ideal_alone: float
    snr_db: float  # integrated over all echoes of the own target, static part removed
    loss_db: float  # of its energy by that removal
    turning: NDArray[np.float64]  # (2 transmitter, 2 transmitter) covariance of the gains' phases (rad), then Dopplers (Hz)
    turn_rate: float  # Hz/s, std of how a Doppler changes

    @property
    def above_threshold(self) -> bool:
        return self.azimuth.above_threshold

    def phases(self, age_s: float = 0.0, reference: int = 0) -> Estimate:
        """(transmitter,) phases of the gains less that of `reference`, rad, `age_s` after the epoch: turned on by the Dopplers' difference."""
        count = len(self.gains.value)
        less = np.eye(count) - np.outer(np.ones(count), np.eye(count)[reference])
        onward = np.concatenate([less, 2.0 * np.pi * age_s * less], axis=1)
        value = less @ np.angle(self.gains.value) + 2.0 * np.pi * age_s * (less @ self.dopplers.value)
        covariance = onward @ self.turning @ onward.T
        covariance += (np.pi * self.turn_rate * age_s**2) ** 2 * (less @ less.T)
        return Estimate(
            "echo phases", self.gains.of, (value + np.pi) % (2.0 * np.pi) - np.pi, covariance, "rad", bound=covariance,
            epoch=None if self.gains.epoch is None else self.gains.epoch.after(age_s), above_threshold=self.above_threshold,
            assumptions=(*self.gains.assumptions, f"walks on evenly for {age_s:.3g} s"), sources=self.gains.sources,
        )  # fmt: skip

    def valid_for(self, limit_rad: float = np.deg2rad(20.0), reference: int = 0) -> float:
        """Seconds after the epoch up to which every relative phase has a standard deviation below the limit; 0 when none ever does."""
        if not self.above_threshold or np.max(self.phases(0.0, reference).std) >= limit_rad:
            return 0.0
        low, high = 0.0, 1e-4
        while high < 1e4 and np.max(self.phases(high, reference).std) < limit_rad:
            low, high = high, 2.0 * high
        for _ in range(40):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if np.max(self.phases(middle, reference).std) < limit_rad else (low, middle)
        return low


def bearing(
    slow: SlowTime, stations: Sequence[Station], own: int, targets: Sequence[Prior], carrier_hz: float, *, settings: Settings = Settings(),
    chains: Chains | None = None, of: str = "target", epoch: Instant | None = None, sources: tuple[str, ...] = (),
) -> Bearing:  # fmt: skip
    """Own target of station `own`, from its receive array's capture.

    stations: (transmitter,) in the order of `slow.light`; targets: (target,) priors in the order of the stations they belong to, so that
    targets[own] is the own one. chains: gains behind the elements, their errors fitted along; None: all alike, exactly. Below threshold
    values are kept for the record.
    """
    if not 0 <= own < len(stations) or len(stations) != slow.light.shape[0] or not own < len(targets):
        raise InputError("stations", "stations, light and targets disagree", found=f"{len(stations)}, {len(slow.light)}, {len(targets)}, own {own}",
                         allowed="one light per station, a target for the own one")  # fmt: skip
    if slow.received.shape[2] != len(stations[own].receive) or any(
        len(station.transmit) != light.shape[1] for station, light in zip(stations, slow.light)
    ):
        raise InputError("shape", "elements and channels disagree", found=f"{slow.received.shape[2]} received, light {slow.light.shape}",
                         allowed="one per element of the stations")  # fmt: skip
    ordered = [targets[own], *(prior for number, prior in enumerate(targets) if number != own)]
    cleared = clear(slow)
    fields = Fields(cleared, stations, own, ordered, SPEED_OF_LIGHT / carrier_hz, _spread(settings), chains)
    lobes = _found(fields, settings)
    return _told(fields, lobes, settings, of, epoch, sources)


def _spread(settings: Settings) -> Spread:
    return Spread(settings.speed_std, settings.start_std, settings.turn_std, settings.jerk_std)


# -- search ------------------------------------------------------------------------------------------------------------------------------------


def _found(fields: Fields, settings: Settings) -> list[tuple[float, NDArray[np.float64]]]:
    """(minus log posterior, (target, parameter)) of lobes, best first: targets strongest first, each where the others leave most, then all
    together; and with the own target's echoes taken for another's, which only priors can tell when both are near to each other."""
    lone = [_lobes(fields, q, fields.cleared, settings) for q in range(fields.count)]
    order = sorted(range(fields.count), key=lambda q: -lone[q][0][0])
    found = []
    cell = _cell(fields)
    looked = np.isfinite(cell)
    for _, row in lone[order[0]][: settings.starts]:
        point = fields.mean.copy()
        point[order[0]] = row
        for done, q in enumerate(order[1:], 1):
            point[q] = _lobes(fields, q, _without(fields, point, order[:done]), settings)[0][1]
        cost, point, _ = fields.refined(point, 15)
        for q in order[:-1]:  # the first ones were found while the others were still in the data
            again = point.copy()
            again[q] = _lobes(fields, q, _without(fields, point, [other for other in order if other != q]), settings)[0][1]
            if np.any(np.abs(again[q] - point[q])[looked] > 0.5 * cell[looked]):
                fresh, moved, _ = fields.refined(again, 15)
                cost, point = (fresh, moved) if fresh < cost - 1e-3 else (cost, point)
        found.append((cost, point))
    best = min(found, key=lambda lobe: lobe[0])[1]
    for q in range(1, fields.count):
        swapped = best.copy()
        swapped[[0, q]] = best[[q, 0]]
        if np.all(np.abs(swapped - fields.mean)[[0, q], 0] < settings.reach * fields.width[[0, q], 0] + _cell(fields)[0]):
            found.append(fields.refined(swapped, 15)[:2])
    # the own azimuth's prior tells lobes apart, and only that
    known = lambda point: 0.5 * float((point[0, 0] - fields.mean[0, 0]) / fields.width[0, 0]) ** 2
    lobes = sorted(((cost + known(point), point) for cost, point in found), key=lambda lobe: lobe[0])
    cost, point, _ = fields.refined(lobes[0][1], 15)
    return [(cost + known(point), point), *lobes[1:]]


def _cell(fields: Fields) -> NDArray[np.float64]:
    """(parameter,) resolution in each parameter; infinite where none is looked for."""
    station = fields.stations[fields.own]
    width = fields.wavelength / max(float(np.ptp(station.receive @ station.axis)), fields.wavelength)
    span = 1.0 / float(np.ptp(fields.times))
    late = 1.0 / float(np.ptp(fields.frequencies)) if fields.delays else 0.0
    n = fields.transmitters
    return np.array([width, *[0.4] * (n - 1), *[span] * n, *[np.inf] * (3 * n), *([late] * n if fields.delays else [])])


def _without(fields: Fields, point: NDArray, targets: Sequence[int]) -> Cleared:
    """What is left of the data once these targets' echoes, fitted together, are taken out."""
    whole, units = fields.terms(point), fields.units(point)
    mine = [k for k, (_, q) in enumerate(fields.echoes) if q in targets]
    at = (TERMS * np.array(mine)[:, None] + np.arange(TERMS)).ravel()
    some, units = Terms(whole.arrival[at], whole.departure[at], whole.slow[at]), units[np.ix_(at, mine)]
    mixing = np.repeat(units.astype(complex), 2, axis=1) * np.tile([1.0, 1j], len(mine))
    gram, onto = fields.cleared.products(some, mixing)
    weights = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(len(gram)), onto)
    return replace(fields.cleared, left=fields.cleared.without(some, units @ (weights[::2] + 1j * weights[1::2])))


def _lobes(fields: Fields, q: int, cleared: Cleared, settings: Settings) -> list[tuple[float, NDArray[np.float64]]]:
    """(energy over noise, parameters) of a target's best azimuths, best first: echoes of all transmitters summed without their phases."""
    cell, mean, width = _cell(fields), fields.mean[q], fields.width[q]
    grid = lambda at, step, reach: at + step * np.arange(-np.ceil(reach / step), np.ceil(reach / step) + 1)
    azimuths = grid(mean[0], 0.3 * cell[0], settings.reach * width[0])
    azimuths = azimuths[np.abs(azimuths) < 0.5 * np.pi] if np.any(np.abs(azimuths) < 0.5 * np.pi) else mean[:1]
    dopplers = grid(0.0, 0.35 * cell[fields.transmitters], 2.0 * settings.speed / fields.wavelength)
    turn = np.exp(-2j * np.pi * np.outer(dopplers, fields.times))
    arriving = np.array([fields.arrival(q, azimuth)[0] for azimuth in azimuths])
    heard = np.einsum("ar,cbrm->acbm", arriving.conj(), cleared.left, optimize=True)
    total, rows = np.zeros(len(azimuths)), np.tile(mean, (len(azimuths), 1))
    for n in range(fields.transmitters):
        late = mean[fields.delay(n)] if fields.delays else 0.0
        delays = grid(late, 0.4 * cell[-1], 2.0 * width[-1]) if fields.delays and width[-1] > 0.2 * cell[-1] else np.array([late])
        at = fields.departs(n)
        sides = azimuths if n == fields.own else mean[at] + (width[at] * np.array([-1.2, 0.0, 1.2]) if width[at] > 0.08 else np.zeros(1))
        sent = np.array([[fields.departure(n, q, side, delay)[0] for delay in delays] for side in sides])  # (side, delay, block, mode)
        power = np.real(np.einsum("sdbm,cbmk,sdbk->sdc", sent, cleared.sent, sent.conj(), optimize=True))
        kept = power.sum(-1) - np.abs(np.einsum("fc,sdc->fsd", turn, power, optimize=True)) ** 2 / np.maximum(power.sum(-1), 1e-300)
        kept = np.maximum(np.moveaxis(kept, 0, -1), 0.02 * power.sum(-1, keepdims=True)) * fields.stations[fields.own].receive.shape[0]
        if n == fields.own:
            match = np.einsum("acbm,adbm->adc", heard, sent.conj(), optimize=True)[:, None]
            kept = kept[:, None]
        else:
            match = np.einsum("acbm,sdbm->asdc", heard, sent.conj(), optimize=True)
            kept = kept[None]
        energy = np.abs(match @ turn.T) ** 2 / np.maximum(kept, 1e-300) / cleared.variance  # (azimuth, side, delay, doppler)
        best = energy.reshape(len(azimuths), -1).argmax(axis=1)
        side, delay, doppler = np.unravel_index(best, energy.shape[1:])
        total += energy.reshape(len(azimuths), -1).max(axis=1)
        rows[:, fields.doppler(n)] = dopplers[doppler]
        if fields.delays:
            rows[:, fields.delay(n)] = delays[delay]
        if n != fields.own:
            rows[:, at] = sides[side]
    rows[:, 0] = azimuths
    peaks = [k for k in range(len(total)) if total[k] >= max(total[max(k - 1, 0) : k + 2])]
    return [(float(total[k]), rows[k]) for k in sorted(peaks, key=lambda k: -total[k])]


# -- answer ------------------------------------------------------------------------------------------------------------------------------------


def _told(
    fields: Fields, lobes: Sequence[tuple[float, NDArray]], settings: Settings, of: str, epoch: Instant | None, sources: tuple[str, ...]
) -> Bearing:
    point = lobes[0][1]
    errors = fields.known
    if errors.size:
        _, point, errors = fields.refined(point, 15, errors)
    gains = fields.fit(point, errors)[1]
    normal, _ = fields.normal(point, gains, errors)
    bound = fields.covariance(normal)
    parameters, count = point.size, fields.transmitters
    ratio, misfit = _residual(fields, point, gains, errors)
    covariance = bound * (max(ratio, 1.0) if misfit else 1.0)
    own = gains[:count]
    before, after = _energy(fields, point, gains, errors)
    decibels = lambda power: 10.0 * float(np.log10(max(power, 1e-12)))
    snr, loss = decibels(after), decibels(before) - decibels(after)
    off = abs(point[0, 0] - fields.mean[0, 0])
    away = 3.0 * float(np.sqrt(bound[0, 0]))
    rival = min((cost - lobes[0][0] for cost, other in lobes[1:] if abs(other[0, 0] - point[0, 0]) > away), default=np.inf)
    reasons = [
        (rival >= settings.ambiguity, f"ambiguous: another lobe {rival:.1f} below"),
        (snr >= settings.least_snr_db, f"echo of {snr:.1f} dB after removing the static room, under {settings.least_snr_db:g} dB"),
        (loss < settings.most_loss_db, "walks across the line of sight: Doppler too small"),
        (covariance[0, 0] < fields.width[0, 0] ** 2, "no sharper than the prior"),
        (off <= settings.reach * fields.width[0, 0] + _cell(fields)[0], "outside the prior's region"),
        (ratio < 2.0, f"model misfit: {ratio:.1f} times the noise is left at walking Doppler"),
    ]
    notes = ("point targets", "one bounce", "static room", f"distance known to {_range(fields):.2g} m", *fields.cleared.slow.assumptions)
    notes += tuple(text for good, text in reasons if not good) + (("model misfit",) if misfit else ())
    good = all(bool(flag) for flag, _ in reasons)
    of_gains = parameters + np.arange(2 * count)
    dopplers = fields.transmitters + np.arange(count)
    departs = np.array([fields.departs(n) for n in range(count)])
    # phases of the gains from their real and imaginary parts
    jacobian = np.zeros((2 * count, len(bound)))
    for n, gain in enumerate(own):
        jacobian[n, of_gains[2 * n : 2 * n + 2]] = np.array([-gain.imag, gain.real]) / max(abs(gain) ** 2, 1e-300)
        jacobian[count + n, dopplers[n]] = 1.0
    tell = lambda what, value, at, unit: Estimate(
        what, of, value, covariance[np.ix_(at, at)], unit, bound=bound[np.ix_(at, at)], epoch=epoch, above_threshold=good,
        assumptions=notes, residual_test=ratio, sources=sources,
    )  # fmt: skip
    ideal = [_ideal(fields, point, own, mode) for mode in ("comp", "cbf")]
    return Bearing(
        tell("target azimuth", point[0, :1].copy(), [0], "rad"), tell("echo gains", own, of_gains, "1"),
        tell("echo Dopplers", point[0, dopplers].copy(), dopplers, "Hz"), tell("departure angles", point[0, departs].copy(), departs, "rad"),
        point[:, 0].copy(), ideal[0], ideal[1], snr, loss, jacobian @ covariance @ jacobian.T, 2.0 * settings.turn_std / fields.wavelength,
    )  # fmt: skip


def _range(fields: Fields) -> float:
    """Metres to which the prior knows the own target's distance."""
    return float(fields.width[0, 0] * fields.views[0, fields.own, 1])


def _energy(fields: Fields, point: NDArray, gains: NDArray, errors: NDArray) -> tuple[float, float]:
    """Energy of the own target's echoes over noise, before and after what stands still was removed."""
    own = np.arange(len(gains)) < fields.transmitters
    terms, weights = fields.terms(point, errors), fields.units(point) @ (gains * own)
    gram, _ = fields.cleared.products(terms, weights[:, None])
    field = np.einsum("k,kr,kbm,kc->cbrm", weights, terms.arrival, terms.departure, terms.slow, optimize=True)
    whole = float(np.real(np.vdot(field, field @ fields.cleared.sent)))
    return whole / fields.cleared.variance, float(gram[0, 0]) / fields.cleared.variance


def _ideal(fields: Fields, point: NDArray, gains: NDArray, mode: str) -> float:
    parts = [fields.departure(n, 0, point[0, fields.departs(n)], point[0, fields.delay(n)] if fields.delays else 0.0)
             for n in range(fields.transmitters)]  # fmt: skip
    a, slope = fields.arrival(0, point[0, 0])
    return azimuth_bound(
        a, slope, np.array([part[0] for part in parts]), np.array([part[1] for part in parts]), gains, fields.cleared.sent.sum(axis=0),
        fields.cleared.variance, fields.own, "cbf" if mode == "cbf" else "comp", fields.cleared.slow.count,
    )  # fmt: skip


def _residual(fields: Fields, point: NDArray, gains: NDArray, errors: NDArray) -> tuple[float, bool]:
    """Energy left at walking Doppler over the noise measured at Dopplers above, and whether it exceeds 99.9 %."""
    rest = fields.cleared.residual(fields.terms(point, errors), fields.units(point) @ gains)
    cells = rest.shape[0]
    spectrum = np.fft.fft(rest.reshape(cells, -1), axis=0) / np.sqrt(cells)
    doppler = np.abs(np.fft.fftfreq(cells, float(np.mean(np.diff(fields.times)))))
    low = (doppler > 0.0) & (doppler < 60.0)
    degrees = float(low.sum() * fields.cleared.rank * rest.shape[1])
    energy = float(np.sum(np.abs(spectrum[low]) ** 2)) / fields.cleared.variance
    harmonics = np.arange(cells) % fields.cleared.slow.turns == 0  # of the turn: taken out with what stands still
    high = float(((doppler > 0.25 / np.mean(np.diff(fields.times))) & ~harmonics).sum() * fields.cleared.rank * rest.shape[1])
    ratio = energy / degrees
    # the noise it is held against is an estimate too: F with 2 degrees, 2 high
    return ratio, bool(special.fdtr(2.0 * degrees, 2.0 * high, ratio) > 0.999)
