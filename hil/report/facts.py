"""What a run found, taken from its records: the four numbers of each round and designer, and what they add up to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.records import Run

NONE = math.nan


@dataclass(frozen=True, slots=True)
class Angle:
    """One cell's target as a round heard it. Degrees; NaN where nobody knows. bound: at the waveform sent; designed: at the one designed, with
    the echoes then believed. sure: above threshold."""

    cell: str
    error: float
    std: float
    bound: float
    designed: float
    sure: bool


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one designer, at its worst user. dB; NaN where there is no such number. shortfall: 0 when the promise stands.

    mode: of several cells, cbf or comp, as it was sent; gave_way: base stations were to send together, and did not. errors, symbols: of the
    payload, all users.
    """

    number: int
    designer: str
    user: str
    promised: float
    predicted: float
    measured: float
    bound: float
    bound_anywhere: float
    std: float
    shortfall: float
    evm: float
    target_error: float
    target_crlb: float
    moved: float
    movable: float
    took: float
    mode: str = ""
    gave_way: bool = False
    angles: tuple[Angle, ...] = ()
    errors: float = NONE
    symbols: float = NONE

    @property
    def angle(self) -> Angle | None:
        """The target that was told worst, of those above threshold where there are any."""
        said = [angle for angle in self.angles if angle.sure] or list(self.angles)
        return max(said, key=lambda angle: -1.0 if math.isnan(angle.error) else abs(angle.error), default=None)

    @property
    def kept(self) -> bool | None:
        """None: nothing was promised."""
        return None if math.isnan(self.promised) or math.isnan(self.measured) else not self.shortfall > 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """rounds: in the order they were run. designer: who designed the rounds from 1 on."""

    rounds: tuple[Round, ...]
    designer: str
    baselines: tuple[str, ...]

    @property
    def angles(self) -> bool:
        """Whether targets are told by their angles, not by their places."""
        return any(entry.angles for entry in self.rounds)

    @property
    def designed(self) -> tuple[Round, ...]:
        return tuple(found for found in self.rounds if found.number > 0)

    def last(self, designer: str) -> Round | None:
        """The designer's latest round that was measured."""
        found = [entry for entry in self.rounds if entry.designer == designer and not math.isnan(entry.measured)]
        return found[-1] if found else None

    @property
    def final(self) -> Round | None:
        return self.last(self.designer)


def facts(run: Run) -> Facts:
    """Worst user of each (round, designer) of results.csv: the smallest promised, predicted and measured over the users."""
    table = run.table()
    keys = list(dict.fromkeys(zip(map(int, table.get("round", [])), map(str, table.get("designer", [])))))
    apart = gave_way(run)
    rounds = tuple(_round(table, number, designer, (number, designer) in apart) for number, designer in keys)
    started = (run.of("started") or [{}])[0]
    named = [entry.designer for entry in rounds if entry.number > 0]
    designer = named[-1] if named else started.get("designer") or (rounds[-1].designer if rounds else "")
    baselines = tuple(dict.fromkeys(entry.designer for entry in rounds if entry.designer != designer))
    return Facts(rounds, designer, baselines)


def gave_way(run: Run) -> set[tuple[int, str]]:
    """(round, designer) of what was designed for base stations that send apart although it was to be for all together."""
    designed = run.of("designed")
    found = set()
    for warned in run.of("warned", id="not-coherent"):
        after = next((event for event in designed if event["n"] > warned["n"] and event["round"] == warned["round"]), None)
        if after is not None:
            found.add((int(after["round"]), str(after.get("designer") or "")))
    return found


def _round(table: dict[str, NDArray[Any]], number: int, designer: str, gave_way: bool) -> Round:
    rows = np.flatnonzero((table["round"] == number) & (table["designer"].astype(str) == designer))

    def column(name: str) -> NDArray[np.float64]:
        values = table.get(name)
        return np.full(len(rows), NONE) if values is None or values.dtype.kind not in "if" else values[rows].astype(float)

    measured = column("measured_db")
    worst = int(np.nanargmin(measured)) if np.isfinite(measured).any() else 0
    promised, std = column("promised_db"), column("std_db")
    shortfalls = column("shortfall_db")
    if not np.isfinite(shortfalls).any():  # no limit was recorded: the one-sided 99 % one of each user
        shortfalls = promised - measured - 2.326 * np.nan_to_num(std)
    return Round(
        number=number,
        designer=designer,
        user=str(table["user"][rows[worst]]) if "user" in table else "",
        promised=_least(promised),
        predicted=_least(column("predicted_db")),
        measured=_least(measured),
        bound=_least(column("bound_db")),
        bound_anywhere=_least(column("bound_anywhere_db")),
        std=float(std[worst]),
        shortfall=max(0.0, float(np.nanmax(shortfalls))) if np.isfinite(shortfalls).any() else 0.0,
        evm=_most(column("evm")),
        target_error=_least(column("target_error_m")),
        target_crlb=_least(column("target_crlb_m")),
        moved=_most(column("moved")),
        movable=_most(column("movable")),
        took=_most(column("took_s")),
        mode=str(table["mode"][rows[0]]) if "mode" in table else "",
        gave_way=gave_way,
        angles=_angles(table, rows),
        errors=_sum(column("symbol_errors")),
        symbols=_sum(column("symbols")),
    )


def _angles(table: dict[str, NDArray[Any]], rows: NDArray[np.intp]) -> tuple[Angle, ...]:
    """One per cell whose angle was told: it stands beside each of the cell's users."""
    found: dict[str, Angle] = {}
    for row in rows if "angle_std_deg" in table else ():
        error, std, bound, designed, sure = (
            float(table[name][row]) if name in table else NONE
            for name in ("angle_error_deg", "angle_std_deg", "angle_crlb_deg", "angle_promised_deg", "angle_trusted")
        )
        if not math.isnan(std):
            found.setdefault(str(table["target"][row]), Angle(str(table["target"][row]), error, std, bound, designed, sure == 1.0))
    return tuple(found.values())


def _least(values: NDArray[np.float64]) -> float:
    return float(np.nanmin(values)) if np.isfinite(values).any() else NONE


def _most(values: NDArray[np.float64]) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else NONE


def _sum(values: NDArray[np.float64]) -> float:
    return float(np.nansum(values)) if np.isfinite(values).any() else NONE


def blind(designer: str) -> bool:
    """Whether it ignores what is uncertain: its lead over a robust one is what robustness costs."""
    return designer == "nominal" or designer.startswith("nominal-")


def difference(one: str, other: str) -> str:
    """The one thing in which a design differs from another: cooperation, robustness or symbols; "" where it is none of these or several."""
    first, second = (name.removeprefix("nominal-").partition("-") for name in (one, other))
    if {first[0], second[0]} - {"comp", "cbf"}:
        return ""
    has = {
        "cooperation": (first[0] == "comp", second[0] == "comp"),
        "robustness": (not blind(one), not blind(other)),
        "symbols": (first[2] == "slp", second[2] == "slp"),
    }
    apart = [name for name, (mine, its) in has.items() if mine != its]
    return apart[0] if len(apart) == 1 and has[apart[0]][0] else ""


# ---- sentences


def number(value: float, digits: int = 1, unit: str = "") -> str:
    """A number for a table; `-` where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}{unit}".replace("-", "\N{MINUS SIGN}")


def counted(count: int, what: str) -> str:
    """1 design, 2 designs."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def promise_kept(found: Facts) -> str:
    judged = [entry for entry in found.designed if entry.kept is not None]
    if not judged:
        return "nothing was promised that could be checked"
    broken = [entry for entry in judged if not entry.kept]
    kept = f"promise kept in {len(judged) - len(broken)} of {counted(len(judged), 'round')}"
    if not broken:
        return kept
    named = ", ".join(f"round {entry.number} by {number(entry.shortfall)} dB" for entry in broken)
    return f"{kept}: BROKEN in {named}"


def gain_split(found: Facts) -> list[tuple[str, float, str]]:
    """(designer, measured dB, what the step up to the one before it says), best first: as the terminal's last lines."""
    order = [found.designer, "sparse", "fixed", "fixed-rzf"]
    said = {"sparse": "of the gain need motion", "fixed": "only a wider array", "fixed-rzf": "only a better precoder"}
    rows: list[tuple[str, float, str]] = []
    above = NONE
    for designer in dict.fromkeys(order):
        entry = found.last(designer)
        if entry is None:
            continue
        step = "" if math.isnan(above) or designer not in said else f"{number(above - entry.measured)} dB {said[designer]}"
        rows.append((designer, entry.measured, step))
        above = entry.measured
    return rows


def ending(run: Run) -> str:
    """How the run ended, as a clause."""
    last = run.about.get("ended") or {}
    rest = ", muted, at rest" if last.get("muted") and last.get("at_rest") else "; NOT known to be muted and at rest" if last else ""
    words = {
        "converged": "it converged",
        "limit": "it reached its last round",
        "interrupted": "it was interrupted",
        "fault": "the bench failed",
        "safe": "the bench went into its safe state",
    }
    if not last:
        return "it was interrupted without saying how"
    return words.get(last.get("how", ""), str(last.get("how"))) + rest


def medium(run: Run) -> str:
    """What was real: a sentence for the first page."""
    if run.about.get("air"):
        return "Over the air: transmitters radiated and stages moved."
    depth = run.about.get("depth", "process")
    time = {
        "process": "one process, virtual time",
        "nodes": "node processes over ZeroMQ, wall time",
        "device": "every driver, wall time",
    }.get(depth, depth)
    return f"Emulated at depth {depth} ({time}): nothing was radiated and nothing moved."
