"""The max-min designers beside general tools, in the same run: `python -m benchmarks.design [--quick]`.

Precoders at half-wavelength positions, quickstart size (2 transmitters, 2 users, 32 blocks, 4 elements): ours and the same second-order
cone program written in cvxpy, bisected on the level with clarabel and with SCS. Positions: ours and a random search over legal layouts
scored by the same landscape for twice our time. Then the distance to the proven bound, the adversary, and the gain over the baselines.
Times are processor seconds of one core. Rooms are those of the physics tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cvxpy as cp
import numpy as np
import torch

from hil.adversary import verdict
from hil.systems.maxmin import Problem, designers
from hil.systems.maxmin.placement import Landscape, place
from hil.systems.maxmin.precoders import solve
from hil.systems.maxmin.worst_case import Field, known_field, worst_sinr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "physics"))
from maxmin_scene import room

BISECTION_DB = 0.02  # how finely the peer resolves the level
POOL = 32  # layouts the random search scores at once


def timed(work: Callable[[], object]) -> tuple[object, float]:
    begun = time.process_time()
    return work(), time.process_time() - begun


def decibels(ratio: float) -> float:
    return 10.0 * float(np.log10(ratio))


def cvxpy_precoders(problem: Problem, field: Field, solver: str, first: float, **settings) -> float:
    """Level (linear) by bisection between a quarter and four times `first`; returns the exact worst case of the last feasible precoders."""
    unit = np.sqrt(problem.element_power_w.mean() / problem.tones.sum())
    gain = unit / np.sqrt(field.noise)[:, None, None]
    mean, spread, radius = field.mean * gain, field.spread[..., :2, :] * gain[..., None], field.radius * gain[..., 0]
    w = [[cp.Variable(problem.elements, complex=True) for _ in range(problem.blocks)] for _ in problem.arrays]
    root = cp.Parameter(nonneg=True)
    limits = []
    for u, a in enumerate(problem.serving):
        for b in range(problem.blocks):
            leaks = []
            for v in range(len(problem.arrays)):
                if v != a:
                    leaks += [cp.abs(mean[v, u, b] @ w[v][b]) + radius[v, u, b] * cp.norm(w[v][b]), cp.norm(spread[v, u, b] @ w[v][b])]
            least = cp.real(mean[a, u, b] @ w[a][b]) - radius[a, u, b] * cp.norm(w[a][b])
            limits.append(least >= root * cp.norm(cp.hstack([1.0, *leaks])))
    for a in range(len(problem.arrays)):
        for n in range(problem.elements):
            parts = [np.sqrt(problem.tones[b]) * w[a][b][n] for b in range(problem.blocks)]
            limits.append(cp.norm(cp.hstack(parts)) <= np.sqrt(problem.element_power_w[a, n]) / unit)
    program = cp.Problem(cp.Minimize(0), limits)
    low, high, best = first / 4.0, first * 4.0, 0.0
    while decibels(high / low) > BISECTION_DB:
        root.value = float(np.sqrt(np.sqrt(low * high)))
        try:
            program.solve(solver=solver, **settings)
            feasible = program.status in ("optimal", "optimal_inaccurate")
        except cp.SolverError:
            feasible = False
        if feasible:
            low = root.value**2
            found = problem.scale_common(unit * np.array([[x.value for x in row] for row in w]))
            best = max(best, float(worst_sinr(field, found).min()))
        else:
            high = root.value**2
    return best


def random_search(problem: Problem, knowledge, seconds: float) -> np.ndarray:
    """Best of as many random layouts as fit, scored by the landscape after a few steps of its inner precoders."""
    landscape = Landscape(problem, knowledge)
    best, winner, begun = -np.inf, problem.centre, time.process_time()
    while time.process_time() - begun < seconds:
        candidates = torch.as_tensor(problem.random_positions(POOL))
        knobs = {name: knob.requires_grad_() for name, knob in landscape.fresh_knobs(POOL).items()}
        ascent = torch.optim.Adam(list(knobs.values()), lr=0.2, maximize=True)
        for _ in range(10):
            ascent.zero_grad()
            sinr, margin = landscape.log_sinr(candidates, knobs)
            score = sinr.flatten(-2).mean(-1) - 0.5 * (sinr.flatten(-2).mean(-1) - sinr.flatten(-2).amin(-1)) + 3.0 * margin.clamp(max=0.0)
            score.sum().backward()
            ascent.step()
        score = score.detach()
        top = int(torch.argmax(score))
        if float(score[top]) > best:
            best, winner = float(score[top]), candidates[top].numpy()
    return winner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Solution may be inaccurate")
    table: list[tuple[str, float, float, str]] = []
    results: list[dict] = []

    def bar(what: str, value: float, limit: float, *, most: bool = True) -> None:
        ok = value <= limit if most else value >= limit
        results.append({"what": what, "value": round(value, 4), "bar": limit, "ok": bool(ok)})

    warm = room(99, steps=3)
    place(warm.problem, warm.knowledge())

    for solver, settings in (("CLARABEL", {}),) + ((("SCS", {"eps": 1e-4, "max_iters": 4000}),) if not quick else ()):
        ours, peers, gain = [], [], []
        for seed in range(1 if quick or solver == "SCS" else 3):
            scene = room(seed, floor_dbm=None)
            problem = scene.problem.at(scene.problem.centre)
            field = known_field(problem, scene.knowledge(problem.positions))
            found, mine = timed(lambda p=problem, f=field: solve(p, f))
            level, theirs = timed(lambda p=problem, f=field, s=solver, k=settings, g=found.level: cvxpy_precoders(p, f, s, g, **k))
            ours.append(mine), peers.append(theirs), gain.append(decibels(found.level / max(level, 1e-12)))
        table.append((f"precoders, seconds (cvxpy with {solver})", float(np.median(ours)), float(np.median(peers)), "s"))
        bar(f"precoders: our time over cvxpy with {solver}", float(np.median(ours) / np.median(peers)), 0.2)
        bar(f"precoders: worst-case SINR over cvxpy with {solver}, least, dB", min(gain), -BISECTION_DB, most=False)

    seeds = range(2 if quick else 20)
    took = {"place": [], "design": []}
    values = {name: [] for name in ("fixed-rzf", "fixed", "sparse", "robust")}
    gaps, searched, judged, missed = [], [], [], []
    for seed in seeds:
        scene = room(seed)
        for name in values:
            designer = designers[name]()
            positions = designer.positions(scene.problem)
            if positions is None:
                layouts, seconds = timed(lambda s=scene: place(s.problem, s.knowledge()))
                positions = layouts.positions[0]
                took["place"].append(seconds)
                if seed < (1 if quick else 5):
                    rival = random_search(scene.problem, scene.knowledge(), 2.0 * seconds)
                    searched.append(designer(scene.problem.at(rival), scene.knowledge(rival)).promised)
            problem, knowledge = scene.problem.at(positions), scene.knowledge(positions)
            design, seconds = timed(lambda d=designer, p=problem, k=knowledge: d(p, k))
            if name == "robust":
                took["design"].append(seconds)
                gaps.append(design.bound - design.promised)
            case = (design.precoders, knowledge.channel.value[..., 0, :], knowledge.radius, scene.noise, problem.block_of_tone,
                    problem.serving, design.promised)  # fmt: skip
            tried, seconds = timed(lambda c=case: verdict(*c, np.random.default_rng(0)))
            judged.append(seconds)
            exact = 10.0 * np.log10(worst_sinr(known_field(problem, knowledge), design.precoders[..., 0]))
            missed.append(float(np.max(tried.worst_each - exact)))
            values[name].append(float(exact.min()))
    median = {name: float(np.median(v)) for name, v in values.items()}
    table.append(("positions, worst-case SINR (random search, twice the time)", float(np.median(values["robust"][: len(searched)])),
                  float(np.median(searched)), "dB"))  # fmt: skip
    bar("positions: gain over random search in twice the time, median, dB",
        float(np.median(np.array(values["robust"][: len(searched)]) - searched)), 0.2, most=False)  # fmt: skip
    bar("positions: seconds, median", float(np.median(took["place"])), 4.0)
    bar("precoders and bound at given positions: seconds, median", float(np.median(took["design"])), 2.0)
    bar("robust below its proven bound, median, dB", float(np.median(gaps)), 0.3)
    bar("robust below its proven bound, least, dB", min(gaps), 0.0, most=False)
    bar("adversary: seconds, most", max(judged), 0.5)
    bar("adversary: short of the exact worst case, most, dB", max(missed), 0.01)
    bar("robust over fixed and sparse, median, dB", median["robust"] - max(median["fixed"], median["sparse"]), 0.5, most=False)

    print(f"{'':62s} {'ours':>9s} {'peer':>9s} {'ratio':>8s}")
    for what, mine, peer, unit in table:
        ratio = f"{mine / peer:8.3f}" if unit == "s" else f"{mine - peer:+6.2f}dB"
        print(f"{what:62s} {mine:9.3f} {peer:9.3f} {ratio}")
    print(f"\nworst case over the sets, median over {len(seeds)} rooms, dB, floor -10 dBm:")
    for name, value in median.items():
        print(f"  {name:10s} {value:6.2f}")
    parts = (("design", "fixed", "fixed-rzf"), ("aperture", "sparse", "fixed"), ("motion", "robust", "sparse"))
    print("  gain: " + ", ".join(f"{what} {np.median(np.subtract(values[a], values[b])):+.2f}" for what, a, b in parts))
    print(json.dumps({"benchmark": "design", "results": results}))


if __name__ == "__main__":
    main()
