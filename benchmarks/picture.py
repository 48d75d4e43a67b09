"""The figure of many trials: `python -m benchmarks.picture FILE [--write docs/pictures/designers.svg]`, FILE from `benchmarks.designers --keep`.

Left: the share of rooms in which the worst user got at most so much, by designer. Right: what design, aperture and motion each brought.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.designers import NAMES, SPLIT
from hil.report import look

LINES: dict[str, Any] = {"robust": "-", "nominal": "--", "sparse": "-.", "fixed": ":", "fixed-rzf": (0, (1, 3))}


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Empirical distributions and the gain split, decibels; hue says who designed, the dashes say it again."""
    gains = {what: [one[better]["measured"] - one[worse]["measured"] for one in found] for what, better, worse in SPLIT}
    with look.figure(3.3) as figure:
        top = look.title(figure, title(gains, len(found)))
        room = {"left": 0.08, "right": 0.985, "bottom": 0.16, "top": top - 0.03, "wspace": 0.24}
        left, right = figure.subplots(1, 2, width_ratios=(3, 2), gridspec_kw=room)
        for name in NAMES:
            measured = np.sort([one[name]["measured"] for one in found])
            share = np.arange(1, measured.size + 1) / measured.size
            label = f"{name}, median {np.median(measured):.1f} dB"
            left.step(measured, share, where="post", color=look.hue(name), linestyle=LINES[name], linewidth=1.6, label=label)
        left.set(xlabel="measured SINR of the worst user, dB", ylabel="share of rooms at most so good", ylim=(0.0, 1.0))
        left.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
        labels = [f"{what}\n{better} less\n{worse}" for what, better, worse in SPLIT]
        boxes = {"whis": (5, 95), "widths": 0.45, "medianprops": {"color": look.INK}, "flierprops": {"markersize": 3}}
        right.boxplot(list(gains.values()), tick_labels=labels, **boxes)
        for place, values in enumerate(gains.values(), 1):
            right.annotate(f"{np.median(values):.1f}", (place + 0.27, float(np.median(values))), va="center", fontsize=8.5)
        right.axhline(0.0, color=look.SOFT, linewidth=0.8)
        right.set(ylabel="gain of the worst user, dB", xlim=(0.5, len(labels) + 0.7))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(look.svg(figure, "designers"))


def title(gains: dict[str, list[float]], rooms: int) -> str:
    """What the figure shows, in one sentence."""
    middle = {what: float(np.median(values)) for what, values in gains.items()}
    share = middle["motion"] / (middle["motion"] + middle["aperture"])
    return f"{rooms} rooms: of the gain over a half-wave array {share:.0%} need a motor ({middle['motion']:.1f} dB), the rest only a wider array"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", type=Path, default=Path("docs/pictures/designers.svg"))
    asked = parser.parse_args()
    draw([one for one in json.loads(asked.file.read_text()) if all(name in one for name in NAMES)], asked.write)
    print(asked.write)


if __name__ == "__main__":
    main()
