"""Where the elements should stand: gradient ascent of the smallest predicted worst-case SINR from many starts at once, in torch.

Precoders ride along in closed form, so that their phases follow the elements: per transmitter and block

    w ~ (diag(price) - reward conj(a) a^T + sum over others' users of weight (conj(g) g^T + rho^2 I))^-1 conj(h),

the stationarity condition of the robust problem with free prices, weights, block powers and reward, all ascended together with the
positions. The objective is a soft minimum that hardens; after every step positions go to the nearest legal layout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hil.knowledge import Knowledge
from hil.model.arrays import legal, towards
from hil.model.response import Response, response
from hil.systems.maxmin.precoders import target_of
from hil.systems.maxmin.prediction import joint_factor, moving_radius, paths_of
from hil.systems.maxmin.problem import Problem
from hil.systems.maxmin.worst_case import Field, norm, power, worst_sinr

GRID = 129  # points of the table of prediction variances along a rail
STRONGEST = 24  # paths of a link that the search follows; finalists are judged with all of them
SOFT, HARD = 3.0, 60.0  # sharpness of the soft minimum over ln SINR, first and last step
STRIDE = 0.04  # wavelengths, first step of a position; dies out with a cosine
PACE = 0.15  # first step of the logarithms of prices, weights and powers


@dataclass(frozen=True, slots=True, eq=False)
class Layouts:
    """Candidate positions (start, transmitter, antenna), best first, with the smallest predicted worst-case SINR of each, dB."""

    positions: NDArray[np.float64]
    promised_db: NDArray[np.float64]
    steps: int


class Landscape:
    """Differentiable worst-case SINR of batched positions (..., transmitter, antenna), by a problem's path fits."""

    def __init__(self, problem: Problem, knowledge: Knowledge, robust: bool = True) -> None:
        self.problem = problem
        fits = paths_of(problem, knowledge)
        noise = np.asarray(knowledge.noise.value, float)
        self.unit = math.sqrt(problem.element_power_w.mean() / problem.tones.sum())
        paths = response(fits, problem.wavelength, STRONGEST)
        gains = paths.gains * torch.as_tensor(self.unit / np.sqrt(noise))[:, None]
        self.paths = Response(gains, paths.cosines, paths.curvatures, paths.delays, paths.chains, problem.wavelength)
        turns = np.exp(-2j * np.pi * paths.delays.numpy()[..., None] * problem.frequencies_hz)  # (transmitter, user, path, tone)
        average, slope = _moments(problem)
        self.average, self.slope = (torch.as_tensor(np.swapaxes(turns @ m.T, -1, -2)) for m in (average, slope))  # (..., block, path)
        self.least, self.most, self.spacing = (
            torch.tensor([[value(rail)] for rail in problem.arrays], dtype=torch.float64)
            for value in (lambda r: r.travel[0], lambda r: r.travel[1], lambda r: r.spacing)
        )
        factor = joint_factor(problem, knowledge.confidence) if robust else 0.0
        self.table = torch.as_tensor(self._squared_radii(fits, noise, factor, knowledge))
        self.noise = torch.ones(problem.users, dtype=torch.float64)
        self.share = torch.as_tensor(problem.tones[:, None] / problem.element_power_w[:, None] * self.unit**2)  # (a, block, antenna)
        self.tones = torch.as_tensor(problem.tones)
        self.floor = 0.0
        if problem.floor_w > 0.0:
            away = target_of(problem, knowledge) - np.array([rail.origin for rail in problem.arrays])
            reach = np.linalg.norm(away, axis=-1)
            along = np.einsum("ax,ax->a", away, [rail.axis for rail in problem.arrays])
            self.target = torch.as_tensor(along / reach)[:, None], torch.as_tensor(1.0 / reach)[:, None]
            self.floor = problem.floor_w / self.unit**2

    def _squared_radii(self, fits, noise, factor, knowledge) -> NDArray[np.float64]:
        """Squared radius each element would contribute at each grid point: (transmitter, user, block, antenna, GRID)."""
        problem = self.problem
        centres = np.bincount(problem.block_of_tone, problem.frequencies_hz) / problem.tones
        which = np.repeat(np.arange(problem.elements), GRID)
        rows = [
            [fit.predict(np.tile(np.linspace(*rail.travel, GRID), problem.elements), centres, which)[1] for fit in row]
            for rail, row in zip(problem.arrays, fits)
        ]
        hard = moving_radius(problem, knowledge) ** 2 / problem.elements if factor > 0.0 else np.zeros(noise.size)
        variance = np.moveaxis(np.reshape(rows, (len(rows), problem.users, problem.elements, GRID, -1)), -1, 2)
        squares = variance * factor**2 + hard[..., None, None, None]
        return squares * self.unit**2 / noise[:, None, None, None]

    def field(self, positions: Tensor) -> Field:
        """Mean and first-order variation of every block's channel, and the radius, noise scaled to 1."""
        waves = self.paths.waves(positions[..., :, None, :])
        mean, slope = self.average @ waves, self.slope @ waves
        at = ((positions - self.least) / (self.most - self.least).clamp(min=1e-12)).clamp(0.0, 1.0) * (GRID - 1)
        low = at.detach().floor().clamp(max=GRID - 2)
        part = (at - low)[..., :, None, None, :]
        index = low.long()[..., :, None, None, :, None].expand(*at.shape[:-1], *self.table.shape[1:3], at.shape[-1], 1)
        table = self.table.expand(*at.shape[:-2], *self.table.shape)
        square = (1.0 - part) * table.gather(-1, index)[..., 0] + part * table.gather(-1, index + 1)[..., 0]
        return Field(mean, slope[..., None, :], square.mean(-1).clamp(min=1e-30).sqrt(), self.noise, self.problem.serving)

    def precoders(self, field: Field, positions: Tensor, knobs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(w (..., transmitter, block, antenna) within the caps, ln of target power over floor (...))."""
        problem = self.problem
        price, weight = knobs["price"].exp(), knobs["weight"].exp()
        loads, own, vectors, factors = [], [], [], []
        for a in range(len(problem.arrays)):
            u = problem.serving.index(a)
            others = [v for v in range(problem.users) if v != u]
            eta = weight[..., others, :]
            loads.append(price[..., a, None, :] + (eta * field.radius[..., a, others, :] ** 2).sum(-2)[..., None])
            own.append(field.mean[..., a, u, :, :])
            vectors.append(field.mean[..., a, others, :, :].movedim(-3, -2))
            factors.append(eta.movedim(-2, -1))
        load, h = torch.stack(loads, -3), torch.stack(own, -3)
        vector, factor = torch.stack(vectors, -4), torch.stack(factors, -3)  # (..., transmitter, block, term, antenna), (..., term)
        steering = None
        if self.floor > 0.0:
            steering = towards(positions, *self.target, problem.wavelength) * torch.tensor(problem.gains)
            reward = (knobs["reward"].sigmoid() / (1.0 / price).sum(-1))[..., None, None].expand(*factor.shape[:-1], 1)
            toward = steering[..., None, None, :].expand(*vector.shape[:-2], 1, vector.shape[-1])
            vector, factor = torch.cat([vector, toward], -2), torch.cat([factor, -reward], -1)
        w = loaded_solve(load, vector, factor, h.conj())
        w = w * (knobs["power"].exp() / norm(w))[..., None]
        hottest = (power(w) * self.share).sum(-2).amax(-1)
        w = w * hottest.rsqrt()[..., None, None]
        if steering is None:
            return w, torch.zeros(w.shape[:-3], dtype=torch.float64)
        sent = (power((w * steering[..., None, :]).sum(-1)) * self.tones).sum((-1, -2))
        return w, torch.log(sent / self.floor)

    def fresh_knobs(self, starts: int) -> dict[str, Tensor]:
        a, u, b, n = len(self.problem.arrays), self.problem.users, self.problem.blocks, self.problem.elements
        shapes = {"price": (a, n), "weight": (u, b), "power": (a, b), "reward": (a,)}
        return {name: torch.zeros(starts, *shape, dtype=torch.float64) - 2.0 * (name == "reward") for name, shape in shapes.items()}

    def log_sinr(self, positions: Tensor, knobs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(ln worst-case SINR (..., user, block), ln of target power over floor (...))."""
        field = self.field(positions)
        w, margin = self.precoders(field, positions, knobs)
        return torch.log(worst_sinr(field, w) + 1e-9), margin


def loaded_solve(load: Tensor, vectors: Tensor, factors: Tensor, right: Tensor) -> Tensor:
    """(diag(load) + sum_j factor_j conj(v_j) v_j^T)^-1 right, by Woodbury. load, right (..., antenna); vectors (..., term, antenna)."""
    eased = vectors.conj() / load[..., None, :]
    start = right / load
    inner = vectors @ eased.mT + torch.diag_embed(1.0 / factors)
    share = (vectors @ start[..., None])[..., 0]
    if factors.shape[-1] == 1:
        share = share / inner[..., 0]
    elif factors.shape[-1] == 2:
        (p, q), (r, t) = inner[..., 0, :].unbind(-1), inner[..., 1, :].unbind(-1)
        x, y = share.unbind(-1)
        share = torch.stack([t * x - q * y, p * y - r * x], -1) / (p * t - q * r)[..., None]
    else:
        share = torch.linalg.solve(inner, share[..., None])[..., 0]
    return start - (eased * share[..., None]).sum(-2)


def _moments(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(block, tone) weights of a block's mean and of its unit-norm linear trend over the square root of its tones."""
    average = np.zeros((problem.blocks, problem.frequencies_hz.size))
    slope = np.zeros_like(average)
    for block in range(problem.blocks):
        tones = np.flatnonzero(problem.block_of_tone == block)
        average[block, tones] = 1.0 / len(tones)
        ramp = problem.frequencies_hz[tones] - problem.frequencies_hz[tones].mean()
        slope[block, tones] = ramp / max(np.linalg.norm(ramp), 1e-300) / np.sqrt(len(tones))
    return average, slope


def soft_minimum(values: Tensor, sharpness: float) -> Tensor:
    """-ln mean exp(-sharpness v) / sharpness over the last two axes: at least the minimum."""
    flat = values.flatten(-2)
    return -(torch.logsumexp(-sharpness * flat, -1) - math.log(flat.shape[-1])) / sharpness


def first_layouts(problem: Problem, knowledge: Knowledge, landscape: Landscape, pool: int = 64) -> Tensor:
    """(start, transmitter, antenna): where the elements are, spread, centre, and the most promising of `pool` random layouts."""
    now = torch.as_tensor(np.asarray(knowledge.positions, float))
    known = torch.stack([now, torch.as_tensor(problem.spread), torch.as_tensor(problem.centre)])
    candidates = torch.as_tensor(problem.random_positions(pool))
    with torch.no_grad():
        sinr, margin = landscape.log_sinr(candidates, landscape.fresh_knobs(pool))
        order = torch.argsort(soft_minimum(sinr, SOFT) + 2.0 * margin.clamp(max=0.0), descending=True, stable=True)
    chosen = torch.cat([known, candidates[order]])[: problem.starts]
    return legal(chosen, landscape.least, landscape.most, landscape.spacing)


class Ascent:
    """Adam (Kingma and Ba, 2015), uphill. The library's own costs two seconds to import."""

    def __init__(self, tensors: list[tuple[torch.Tensor, float]], betas: tuple[float, float] = (0.9, 0.98)) -> None:
        self._tensors, self._betas, self._count = tensors, betas, 0
        self._moments = [(torch.zeros_like(tensor), torch.zeros_like(tensor)) for tensor, _ in tensors]

    @torch.no_grad()
    def step(self, pace: float) -> None:
        """One step of `pace` times each tensor's own stride, and gradients cleared."""
        self._count += 1
        first, second = self._betas
        for (tensor, stride), (mean, square) in zip(self._tensors, self._moments):
            slope = tensor.grad
            if slope is None:
                continue
            mean.lerp_(slope, 1.0 - first)
            square.mul_(second).addcmul_(slope, slope, value=1.0 - second)
            root = (square / (1.0 - second**self._count)).sqrt_().add_(1e-8)
            tensor.addcdiv_(mean, root, value=pace * stride / (1.0 - first**self._count))
            tensor.grad = None


def place(problem: Problem, knowledge: Knowledge, robust: bool = True) -> Layouts:
    """`problem.starts` layouts after `problem.steps` steps each, best first; robust False takes the path fits for certain.

    Randomness from `problem.rng` only; one thread, so that sums come in one order (and small tensors gain nothing from more).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _ascend(problem, knowledge, robust)
    finally:
        torch.set_num_threads(threads)


def _ascend(problem: Problem, knowledge: Knowledge, robust: bool) -> Layouts:
    landscape = Landscape(problem, knowledge, robust)
    positions = first_layouts(problem, knowledge, landscape)
    knobs = landscape.fresh_knobs(len(positions))
    scaled = (positions / problem.wavelength).requires_grad_()
    for knob in knobs.values():
        knob.requires_grad_()
    ascent = Ascent([(scaled, STRIDE), *((knob, PACE) for knob in knobs.values())])
    limits = (landscape.least / problem.wavelength, landscape.most / problem.wavelength, landscape.spacing / problem.wavelength)
    best = torch.full((len(positions),), -torch.inf, dtype=torch.float64)
    best_positions = positions.clone()
    for step in range(problem.steps):
        done = step / problem.steps
        sinr, margin = landscape.log_sinr(scaled * problem.wavelength, knobs)
        short = margin.clamp(max=0.0)
        with torch.no_grad():
            reached = sinr.flatten(-2).amin(-1) + 3.0 * short
            better = reached > best
            best = torch.where(better, reached, best)
            best_positions = torch.where(better[:, None, None], scaled * problem.wavelength, best_positions)
        (soft_minimum(sinr, SOFT * (HARD / SOFT) ** done) + 3.0 * short).sum().backward()
        ascent.step(0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done)))
        with torch.no_grad():
            scaled.copy_(legal(scaled, *limits))
    order = torch.argsort(best, descending=True, stable=True)
    final = legal(best_positions[order], landscape.least, landscape.most, landscape.spacing)
    return Layouts(final.numpy(), (10.0 / math.log(10.0) * best[order]).numpy(), problem.steps)
