"""The paper's designs: Algorithm 1 over the convex problems of `baselines`, rank-one recovery, and what the result is really worth.

Every round solves the problems A under the caps in force, then the problems B, which lower the caps. Each round's precoders are recovered
(principal eigenvectors, scaled into the powers) and judged by the exact worst case and by the Fisher information of what is sent; the
answer is the round of the largest objective so judged. What the relaxations claim is kept beside it.

`problem.nominal()` gives the designs of the authors' earlier work (delta = 0), `single_cell` those blind to other cells, rho = 0 and 1 the
two ends of the trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.systems.multicell import fisher, margin, worst_case
from hil.systems.multicell.baseline_symbols import p3, p4
from hil.systems.multicell.baselines import SOLVERS, Solved, Weighing, p1, p2
from hil.systems.multicell.problem import Kind, Mode, Precoding, Problem

CAP = 10.0  # of leakage over noise at first, in power: 10 dB
ROUNDS = 10
SETTLED = 1e-3  # relative change of the objective that ends the rounds


@dataclass(frozen=True)
class Round:
    """What one round claims (t, gamma of the relaxations, weakest base station) and what its recovered precoders are worth."""

    t: float
    gamma: float
    true_t: float
    true_gamma: float
    status: tuple[str, ...]
    waveform: NDArray[np.complex128] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Settings:
    """Of a published design. gamma: a fixed target instead of the weighted sum. cap: the first of all caps, power over noise."""

    rho: float = 0.5
    gamma: float | None = None
    cap: float = CAP
    rounds: int = ROUNDS
    published_min_numerator: bool = False
    published_covariance_factor: bool = False
    one_r: bool = True
    solvers: Sequence[tuple[str, dict[str, Any]]] = SOLVERS


def design(problem: Problem, mode: Mode, kind: Kind, rng: np.random.Generator, settings: Settings | None = None) -> tuple[Precoding, list[Round]]:
    """(best round as a precoding, all rounds) of one start; "infeasible" where no round returned precoders that can be sent."""
    settings = settings or Settings()
    scaled = problem.normalised
    weighing = Weighing(settings.rho, 1.0, 1.0, settings.gamma)
    algorithm = {("cbf", "blp"): cbf_blp, ("comp", "blp"): comp_blp, ("cbf", "slp"): cbf_slp, ("comp", "slp"): comp_slp}[mode, kind]
    rounds = algorithm(scaled, weighing, rng, settings)
    asked = settings.gamma or 0.0
    sent = [one for one in rounds if one.waveform is not None and one.true_gamma > 0.0]
    if not sent:
        return Precoding(mode, kind, asked, "infeasible", achievable=0.0, designer="published", stopped="no round can be sent"), rounds
    top = max(one.true_t for one in sent), max(one.true_gamma for one in sent)
    best = max(sent, key=lambda one: settings.rho * one.true_t / max(top[0], 1e-300) + (1 - settings.rho) * one.true_gamma / top[1])
    assert best.waveform is not None
    judge = worst_case.sinr(scaled, mode, best.waveform) if kind == "blp" else margin.sinr(scaled, best.waveform, mode)
    t = fisher.sensing(scaled, mode, best.waveform, kind)
    history = [one.true_t for one in rounds]
    waveform = problem.restored(best.waveform)
    return Precoding(mode, kind, asked, "solved", waveform, judge, t, None, history, "published", f"{len(rounds)} rounds"), rounds


def cbf_blp(problem: Problem, weighing: Weighing, rng: np.random.Generator, settings: Settings) -> list[Round]:
    """Algorithm 1, coordinated beamforming, from random beams."""
    shape = (problem.stations, problem.antennas, problem.users)
    own = np.arange(problem.stations)[:, None, None] == problem.cells
    w = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * own
    w = w / np.sqrt(problem.spent(w, "blp") / problem.power)[:, None, None]
    intra, inter = [settings.cap] * problem.stations, settings.cap
    rounds: list[Round] = []
    for _ in range(settings.rounds):
        s = _reflected(problem, w, "blp", settings)
        status: tuple[str, ...] = ()
        first: list[Solved] = []
        second: list[Solved] = []
        for m in range(problem.stations):
            ask = partial(p1, problem, m, (intra[m], inter), reflected=float(s[m]), **_options(settings))
            weighed = _normalised(weighing, ask)
            a = ask(weighed)
            b = ask(weighed, held=(a.t, a.gamma)) if a.found else a
            status += a.status + (b.status if a.found else ())
            first.append(a)
            second.append(b if b.found else a)
        if not all(a.found for a in first):
            return [*rounds, Round(0.0, 0.0, 0.0, 0.0, status)]
        w = np.zeros(shape, complex)
        for m, b in enumerate(second):
            w[m][:, np.flatnonzero(problem.cells == m)] = np.stack([_principal(one) for one in b.w], axis=1)
        intra = [b.caps[0] if b.caps else intra[m] for m, b in enumerate(second)]
        inter = max([b.caps[1] for b in second if b.caps], default=inter)
        rounds.append(_judged(problem, "cbf", "blp", first, w, status))
        if _settled(rounds, weighing):
            break
    return rounds


def comp_blp(problem: Problem, weighing: Weighing, rng: np.random.Generator, settings: Settings) -> list[Round]:
    """Algorithm 1, multipoint. Nothing of it depends on where it starts: one start is all of them."""
    cap = settings.cap
    weighed = _normalised(weighing, partial(p2, problem, cap, **_options(settings)))
    rounds: list[Round] = []
    for _ in range(settings.rounds):
        a = p2(problem, cap, weighed, **_options(settings))
        if not a.found:
            return [*rounds, Round(0.0, 0.0, 0.0, 0.0, a.status)]
        b = p2(problem, cap, weighed, held=(a.t, a.gamma), **_options(settings))
        used = b if b.found else a
        w = np.stack([_principal(one) for one in used.w], axis=1).reshape(problem.stations, problem.antennas, problem.users)
        rounds.append(_judged(problem, "comp", "blp", [a], w, a.status + b.status))
        cap = b.caps[0] if b.caps else cap
        if _settled(rounds, weighing):
            break
    return rounds


def cbf_slp(problem: Problem, weighing: Weighing, rng: np.random.Generator, settings: Settings) -> list[Round]:
    """(P3.A) and (P3.B) in turn, from a random waveform; the cap is an amplitude."""
    shape = (problem.stations, problem.antennas, problem.length)
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    x = x / np.sqrt(problem.spent(x, "slp") / problem.power)[:, None, None]
    cap = float(np.sqrt(settings.cap))
    rounds: list[Round] = []
    for _ in range(settings.rounds):
        s = _reflected(problem, x, "slp", settings)
        status: tuple[str, ...] = ()
        first: list[Solved] = []
        second: list[Solved] = []
        for m in range(problem.stations):
            ask = partial(p3, problem, m, cap, reflected=float(s[m]), one_r=settings.one_r, solvers=settings.solvers)
            weighed = _normalised(weighing, ask)
            a = ask(weighed)
            b = ask(weighed, held=(a.t, a.gamma)) if a.found else a
            status += a.status + (b.status if a.found else ())
            first.append(a)
            second.append(b if b.found else a)
        if not all(a.found for a in first):
            return [*rounds, Round(0.0, 0.0, 0.0, 0.0, status)]
        x = np.stack([b.w[0] for b in second])
        cap = max([b.caps[0] for b in second if b.caps], default=cap)
        rounds.append(_judged(problem, "cbf", "slp", first, x, status))
        if _settled(rounds, weighing):
            break
    return rounds


def comp_slp(problem: Problem, weighing: Weighing, rng: np.random.Generator, settings: Settings) -> list[Round]:
    """(P4): one solve, no caps, nothing random."""
    ask = partial(p4, problem, one_r=settings.one_r, solvers=settings.solvers)
    a = ask(_normalised(weighing, ask))
    if not a.found:
        return [Round(0.0, 0.0, 0.0, 0.0, a.status)]
    return [_judged(problem, "comp", "slp", [a], a.w[0].reshape(problem.stations, problem.antennas, -1), a.status)]


def single_cell(problem: Problem, m: int) -> Problem:
    """Base station m, its users and its target, as if there were no other cell."""
    users = np.flatnonzero(problem.cells == m)
    return replace(
        problem, channel=problem.channel[m : m + 1, users], cells=np.zeros(len(users), int), radius=problem.radius[m : m + 1, users],
        noise=problem.noise[users], power=problem.power[m : m + 1], angle=problem.angle[m : m + 1, m : m + 1],
        alpha=problem.alpha[m : m + 1, m : m + 1], noise_radar=problem.noise_radar[m : m + 1], turns=None, tilts=None,
        payload=None if problem.payload is None else problem.payload[users],
        element_power=None if problem.element_power is None else problem.element_power[m : m + 1],
    )  # fmt: skip


def _options(settings: Settings) -> dict[str, Any]:
    return {"published_min_numerator": settings.published_min_numerator, "solvers": settings.solvers}


def _normalised(weighing: Weighing, at: Any) -> Weighing:
    """With NF_R and NF_C, the values at rho = 1 and rho = 0; an end needs no weights."""
    if weighing.gamma is not None or weighing.rho in (0.0, 1.0):
        return weighing
    most, best = at(replace(weighing, rho=1.0)), at(replace(weighing, rho=0.0))
    return replace(weighing, nf_r=most.t or 1.0, nf_c=best.gamma or 1.0)


def _reflected(problem: Problem, waveform: NDArray[np.complex128], kind: Kind, settings: Settings) -> NDArray[np.float64]:
    """(base station,) s_m of the frozen precoders, L times that where (9) is wanted."""
    s = fisher.reflected(fisher.rows(problem, "cbf"), fisher.covariance(problem, waveform, kind))[0]
    return np.asarray(s * (problem.length if settings.published_covariance_factor else 1))


def _principal(w: NDArray[np.complex128]) -> NDArray[np.complex128]:
    values, vectors = np.linalg.eigh(w)
    return np.asarray(vectors[:, -1] * np.sqrt(max(float(values[-1]), 0.0)))


def _judged(problem: Problem, mode: Mode, kind: Kind, claimed: Sequence[Solved], waveform: NDArray[np.complex128], status: tuple[str, ...]) -> Round:
    """Scaled into the powers, then measured."""
    spent = problem.spent(waveform, kind) / problem.power
    over = spent if mode == "cbf" else np.full_like(spent, spent.max())
    waveform = waveform / np.sqrt(np.maximum(over, 1.0))[:, None, None]
    judge = worst_case.sinr(problem, mode, waveform) if kind == "blp" else margin.sinr(problem, waveform, mode)
    t = float(fisher.sensing(problem, mode, waveform, kind).min())
    return Round(min(one.t for one in claimed), min(one.gamma for one in claimed), t, float(judge.min()), status, waveform)


def _settled(rounds: Sequence[Round], weighing: Weighing) -> bool:
    """Whether what is maximised changed by less than SETTLED between the last two rounds."""
    if len(rounds) < 2:
        return False
    a, b = ((one.t, one.gamma) for one in rounds[-2:])
    return all(abs(x - y) <= SETTLED * max(abs(x), 1e-12) for x, y in zip(a, b))
