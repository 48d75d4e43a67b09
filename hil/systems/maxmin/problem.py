"""Max-min SINR of several access points with movable elements on rails: what is given, what a design must respect.

Access point a sends one stream to the one user it serves; every other user hears it as interference. Precoders are per block of
tones, positions are shared by all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import InputError
from hil.knowledge import Design

CAP_TOLERANCE = 1e-9  # relative excess of an element's power that rounding may cause
PLACE_TOLERANCE = 1e-9  # metres


@dataclass(frozen=True, slots=True)
class Rail:
    """One linear movable array. origin (3,) metres, axis (3,) unit vector of local x; travel and spacing in metres of local x."""

    origin: tuple[float, float, float]
    axis: tuple[float, float, float]
    travel: tuple[float, float]
    spacing: float
    elements: int

    def __post_init__(self) -> None:
        least, most = self.travel
        numbers = [*self.origin, *self.axis, least, most, self.spacing]
        if not np.all(np.isfinite(numbers)) or self.elements < 1 or self.spacing < 0.0:
            raise InputError("rail", "a rail needs finite numbers, elements >= 1 and spacing >= 0", found=repr(self))
        if abs(float(np.linalg.norm(self.axis)) - 1.0) > 1e-6:
            raise InputError("rail-axis", "the axis of a rail is a unit vector", found=f"length {np.linalg.norm(self.axis):.6f}")
        if (self.elements - 1) * self.spacing > most - least + PLACE_TOLERANCE:
            raise InputError(
                "rail-short", "the elements do not fit on the rail", found=f"{self.elements} elements {self.spacing:.6f} m apart",
                allowed=f"{most - least:.6f} m of travel", fix="fewer elements, less spacing or more travel",
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be designed. Frozen; `at` gives the same problem with the positions fixed.

    frequencies_hz, block_of_tone: (tone,) baseband hertz and the block (0, 1, ...) each tone belongs to; the last block may be shorter.
    serving: (user,) the access point of each user, each serving exactly one. element_power_w: (transmitter, antenna) watts, caps on
    sum over blocks of tones in block x |w|^2. floor_w: least total power towards the target, sum over transmitters, blocks and tones
    of |a^T w|^2, watts; 0 for none. positions: (transmitter, antenna) metres of local x, or None when they are to be designed.
    gains: (transmitter, antenna) complex gains of the transmit chains over that of an average one, where they are known: what is
    steered by geometry (the target) needs them, what is sounded has them in it. residual: error power that the chains of both ends add
    over all power received (EVM^2: phase noise, images), linear.
    """

    wavelength: float
    frequencies_hz: NDArray[np.float64]
    block_of_tone: NDArray[np.int64]
    arrays: tuple[Rail, ...]
    serving: tuple[int, ...]
    element_power_w: NDArray[np.float64]
    floor_w: float = 0.0
    positions: NDArray[np.float64] | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    steps: int = 400
    starts: int = 8
    gains: NDArray[np.complex128] | None = None
    residual: float = 0.0

    def __post_init__(self) -> None:
        frozen = {
            "frequencies_hz": np.array(self.frequencies_hz, float), "block_of_tone": np.array(self.block_of_tone, np.int64),
            "arrays": tuple(self.arrays), "serving": tuple(int(a) for a in self.serving),
            "element_power_w": np.array(self.element_power_w, float),
            "positions": None if self.positions is None else np.array(self.positions, float),
            "gains": np.ones((len(self.arrays), self.elements), complex) if self.gains is None else np.array(self.gains, complex),
        }  # fmt: skip
        for name, value in frozen.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)
        self._validate()

    def _validate(self) -> None:
        shape = (len(self.arrays), self.elements)
        if any(rail.elements != self.elements for rail in self.arrays):
            raise InputError("elements", "every rail needs the same number of elements", found=str([r.elements for r in self.arrays]))
        if sorted(self.serving) != list(range(len(self.arrays))):
            raise InputError("serving", "each access point serves exactly one user", found=str(self.serving),
                             allowed=f"a permutation of 0..{len(self.arrays) - 1}")  # fmt: skip
        if self.element_power_w.shape != shape or not np.all(self.element_power_w > 0.0) or not np.all(np.isfinite(self.element_power_w)):
            raise InputError("power-cap", "element_power_w is one finite positive cap per (transmitter, antenna)",
                             found=f"shape {self.element_power_w.shape}", allowed=f"shape {shape}")  # fmt: skip
        if self.gains.shape != shape or not np.all(np.isfinite(self.gains)) or not 0.0 <= self.residual < 1.0:
            raise InputError("chains", "gains are finite, one per (transmitter, antenna), and 0 <= residual < 1",
                             found=f"shape {self.gains.shape}, residual {self.residual}", allowed=f"shape {shape}")  # fmt: skip
        if self.block_of_tone.shape != self.frequencies_hz.shape or not np.all(np.isfinite(self.frequencies_hz)):
            raise InputError("tones", "one finite frequency and one block per tone",
                             found=f"{self.frequencies_hz.shape} frequencies, {self.block_of_tone.shape} blocks")  # fmt: skip
        if not np.array_equal(np.unique(self.block_of_tone), np.arange(int(self.block_of_tone.max(initial=-1)) + 1)):
            raise InputError("blocks", "blocks are numbered 0, 1, ... and none is empty", found=str(np.unique(self.block_of_tone)))
        if not (np.isfinite(self.wavelength) and self.wavelength > 0.0 and np.isfinite(self.floor_w) and self.floor_w >= 0.0):
            raise InputError("problem", "wavelength > 0 and floor_w >= 0 are needed", found=f"{self.wavelength} m, {self.floor_w} W")
        if self.steps < 1 or self.starts < 1:
            raise InputError("effort", "steps and starts are at least 1", found=f"steps {self.steps}, starts {self.starts}")
        if self.positions is not None and (self.positions.shape != shape or not np.all(np.isfinite(self.positions))):
            raise InputError("positions", "positions are finite numbers (transmitter, antenna)", found=str(self.positions.shape),
                             allowed=str(shape))  # fmt: skip

    @property
    def elements(self) -> int:
        return self.arrays[0].elements

    @property
    def users(self) -> int:
        return len(self.serving)

    @property
    def blocks(self) -> int:
        return int(self.block_of_tone.max()) + 1

    @cached_property
    def tones(self) -> NDArray[np.float64]:
        """(block,) tones in each block."""
        return np.bincount(self.block_of_tone, minlength=self.blocks).astype(float)

    @property
    def centre(self) -> NDArray[np.float64]:
        """(transmitter, antenna): half a wavelength apart (more where the rail demands it) around the middle of each rail."""
        rows = []
        for rail in self.arrays:
            step = max(0.5 * self.wavelength, rail.spacing)
            rows.append(sum(rail.travel) / 2 + step * (np.arange(rail.elements) - (rail.elements - 1) / 2))
        return np.array(rows)

    @property
    def spread(self) -> NDArray[np.float64]:
        """(transmitter, antenna): evenly over the whole of each rail."""
        return np.array([np.linspace(*r.travel, r.elements) if r.elements > 1 else [sum(r.travel) / 2] for r in self.arrays])

    def at(self, positions: ArrayLike) -> Problem:
        """This problem with the elements where they are (a stage's read-back, say)."""
        return replace(self, positions=np.array(positions, float))

    def random_positions(self, count: int) -> NDArray[np.float64]:
        """(count, transmitter, antenna): uniform over all legal layouts, from the problem's own generator."""
        layouts = []
        for rail in self.arrays:
            slack = max(rail.travel[1] - rail.travel[0] - (rail.elements - 1) * rail.spacing, 0.0)
            free = np.sort(self.rng.uniform(0.0, slack, (count, rail.elements)), axis=-1)
            layouts.append(rail.travel[0] + free + rail.spacing * np.arange(rail.elements))
        return np.stack(layouts, 1)

    def steering(self, positions: ArrayLike, point: ArrayLike) -> NDArray[np.complex128]:
        """gains x exp(-j k (r_n - r_0)) from each element to `point` (3,), r_0 from the origin: (transmitter, antenna). Exact distances."""
        rows = []
        for rail, offsets in zip(self.arrays, np.asarray(positions, float), strict=True):
            away = np.asarray(point, float) - np.asarray(rail.origin)
            reach, along = np.linalg.norm(away), np.asarray(rail.axis) @ away
            longer = (offsets**2 - 2.0 * offsets * along) / (np.sqrt(reach**2 - 2.0 * offsets * along + offsets**2) + reach)
            rows.append(np.exp(-2j * np.pi / self.wavelength * longer))
        return self.gains * np.array(rows)

    def with_residual(self, sinr: ArrayLike) -> NDArray[np.float64]:
        """Linear SINRs with the chains' own error in them: S/(I + N + residual (S + I + N))."""
        sinr = np.asarray(sinr, float)
        return sinr / (1.0 + self.residual * (1.0 + sinr))

    def element_power(self, precoders: NDArray[np.complex128]) -> NDArray[np.float64]:
        """(transmitter, antenna) watts of precoders (transmitter, block, antenna, stream)."""
        return np.einsum("b,abns->an", self.tones, np.abs(precoders) ** 2)

    def target_power(self, precoders: NDArray[np.complex128], positions: ArrayLike, point: ArrayLike) -> float:
        """Watts towards `point`, all transmitters, blocks and tones: isotropic elements, transmitters added as powers."""
        return self.steered_power(precoders, self.steering(positions, point))

    def steered_power(self, precoders: NDArray[np.complex128], steering: NDArray[np.complex128]) -> float:
        """Watts in the direction of `steering` (transmitter, antenna)."""
        amplitude = np.einsum("an,abns->abs", steering, precoders)
        return float(np.einsum("b,abs->", self.tones, np.abs(amplitude) ** 2))

    @property
    def most_target_power(self) -> float:
        """Watts towards any point when all power is spent on it: sum over transmitters of (sum of square-root caps)^2."""
        return float(np.sum(np.sqrt(self.element_power_w).sum(-1) ** 2))

    def scale(self, precoders: ArrayLike) -> NDArray[np.complex128]:
        """Precoders times one factor per transmitter, its hottest element at its cap: (transmitter, block, antenna, stream).

        Accepts (transmitter, antenna, stream) too: the same in every block. A transmitter that sends nothing stays silent.
        """
        w = np.asarray(precoders, complex)
        if w.ndim == 3:
            w = np.repeat(w[:, None], self.blocks, 1)
        hottest = np.max(self.element_power(w) / self.element_power_w, axis=-1)
        factor = np.where(hottest > 0.0, 1.0 / np.sqrt(np.where(hottest > 0.0, hottest, 1.0)), 0.0)
        return w * factor[:, None, None, None] * (1.0 - 1e-12)

    def scale_common(self, w: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Precoders (transmitter, block, antenna) times one factor for all, so that the hottest element of all is at its cap."""
        hottest = float(np.max(self.element_power(w[..., None]) / self.element_power_w))
        return w * ((1.0 - 1e-12) / np.sqrt(hottest)) if hottest > 0.0 else w

    def check(self, design: Design, *, target: ArrayLike | None = None) -> None:
        """InputError when a design is malformed, exceeds a cap, leaves a rail, crowds elements, or misses the floor (if `target`).

        Positions are judged by the rails only where the problem leaves them free.
        """
        w, p = np.asarray(design.precoders), np.asarray(design.positions)
        shape = (len(self.arrays), self.blocks, self.elements)
        if w.ndim != 4 or w.shape[:3] != shape or p.shape != (shape[0], shape[2]):
            raise InputError("design-shape", "precoders (transmitter, block, antenna, stream), positions (transmitter, antenna)",
                             found=f"{w.shape}, {p.shape}", allowed=f"{(*shape, '*')}, {(shape[0], shape[2])}")  # fmt: skip
        if not (np.all(np.isfinite(w)) and np.all(np.isfinite(p))):
            raise InputError("design-nan", "a design holds finite numbers only", where=design.designer)
        excess = self.element_power(w) / self.element_power_w
        if np.max(excess) > 1.0 + CAP_TOLERANCE:
            a, n = np.unravel_index(int(np.argmax(excess)), excess.shape)
            raise InputError("power-cap", f"transmitter {a} antenna {n} exceeds its cap", where=design.designer,
                             found=f"{self.element_power(w)[a, n]:.6e} W", allowed=f"{self.element_power_w[a, n]:.6e} W")  # fmt: skip
        if self.positions is None:  # fixed ones are where a stage has said they are, a step beside the limit perhaps
            for a, rail in enumerate(self.arrays):
                check_rail(rail, p[a], f"{design.designer} transmitter {a}".strip())
        if target is not None and self.target_power(w, p, target) < self.floor_w * (1.0 - 1e-6):
            raise InputError("target-floor", "too little power towards the target", where=design.designer,
                             found=f"{self.target_power(w, p, target):.6e} W", allowed=f"at least {self.floor_w:.6e} W")  # fmt: skip


def check_rail(rail: Rail, positions: Sequence[float] | NDArray[np.float64], where: str = "") -> None:
    """InputError unless positions (antenna,) ascend, keep their spacing and stay within the travel (to a nanometre)."""
    p = np.asarray(positions, float)
    least, most = rail.travel
    if p.min() < least - PLACE_TOLERANCE or p.max() > most + PLACE_TOLERANCE:
        raise InputError("travel", "a position outside the rail", where=where, found=f"{p.min():.9f} to {p.max():.9f} m",
                         allowed=f"{least:.9f} to {most:.9f} m")  # fmt: skip
    if np.any(np.diff(p) < rail.spacing - PLACE_TOLERANCE):
        raise InputError("spacing", "elements too close or out of order", where=where, found=f"{np.diff(p).min():.9f} m",
                         allowed=f"at least {rail.spacing:.9f} m")  # fmt: skip
