"""One's own designer: a callable, no base class. From the command line: `hil run BENCH --designer own_designer:Matched`.

python examples/own_designer.py [BENCH]
"""

import sys
from pathlib import Path

import numpy as np

import hil


class Matched:
    """Each transmitter beams at its own user and ignores the others: the simplest designer there is."""

    name = "matched"

    def __call__(self, problem, knowledge):
        # Asked twice a round: first for positions (nothing sounded there yet), then for precoders where the elements really stand.
        positions = problem.centre if problem.positions is None else problem.positions
        channel = self.channel(problem, knowledge, positions)
        precoders = np.zeros((len(problem.arrays), problem.blocks, problem.elements, 1), complex)
        for user, transmitter in enumerate(problem.serving):
            for block in range(problem.blocks):
                here = channel[transmitter, user, problem.block_of_tone == block].mean(0)  # (antenna,), y = h @ x
                precoders[transmitter, block, :, 0] = here.conj()
        return hil.Design(precoders=problem.scale(precoders), positions=positions, designer=self.name, steps=1, stopped="closed form")

    @staticmethod
    def channel(problem, knowledge, positions):
        """(transmitter, user, tone, antenna): measured, or before sounding as the fitted paths predict it."""
        if knowledge.channel is not None:
            return knowledge.channel.value[..., 0, :]
        predicted = np.zeros((len(problem.arrays), problem.users, len(problem.frequencies_hz), problem.elements), complex)
        for (transmitter, user), paths in knowledge.paths.items():
            predicted[transmitter, user] = paths.predict(positions[transmitter], problem.frequencies_hz)[0].T
        return predicted


def main(bench_folder: str) -> None:
    bench = hil.load(bench_folder).replace({"rounds.max": 1, "design.baselines": ["fixed"]})
    with hil.open(bench, designer=Matched(), seed=1) as lab:
        for r in lab.rounds():
            promised = "-" if r.promised is None else f"{r.promised:.1f}"
            print(f"{r.number} {r.designer:<10} promised {promised:>5}  measured {r.measured:5.1f} {r.unit}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).with_name("quickstart")))
