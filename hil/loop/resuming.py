"""Going on with an interrupted run: what it had explored is made again from its captures, what it had promised is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.estimate.stillness import Looks
from hil.loop import exploring
from hil.loop.lab import Lab, Taken
from hil.loop.sounding import AGAIN, LOOKS, Sounding
from hil.records.reader import Run

if TYPE_CHECKING:
    from hil.loop.exploring import Explored


@dataclass(frozen=True, eq=False)
class Before:
    """A run as it stood after its last whole round."""

    run: Run
    designer: str

    @property
    def done(self) -> frozenset[tuple[int, str]]:
        """(round, what) that need not be done again; (0, "explore") among them when exploring was whole."""
        return frozenset(self.run.recorded)

    @property
    def promises(self) -> list[float]:
        """Promised objective of each whole round of the designer, in order."""
        whole = {number for number, what in self.run.recorded if what == "round"}
        said = self.run.of("designed", step="precoders", designer=self.designer)
        return [event["promised"] for event in said if event["round"] in whole and event.get("promised") is not None]

    @property
    def version(self) -> int:
        """The last version that was pushed."""
        return max((event["version"] for event in self.run.of("prepared")), default=0)

    def explored(self, lab: Lab, sounding: Sounding) -> Explored:
        """The same channels, from the recorded captures."""
        places = self.run.of("placed", purpose="explore")
        heard = []
        for visit in range(len(places)):
            heard.append([
                {array.name: {radio: self._taken(f"r000-explore-v{visit:02d}-l{look}-{array.name}", radio)
                              for radio in sounding.listening(look)} for array in lab.transmitters}
                for look in range(LOOKS)
            ])  # fmt: skip
        return exploring.understand(lab, sounding, heard, np.array([event["reached"] for event in places]))

    def learned(self, lab: Lab, sounding: Sounding) -> Iterator[tuple[NDArray[np.float64], dict[tuple[int, int], Looks]]]:
        """(positions, links) of every whole round that had moved, from the recorded captures."""
        whole = set(self.run.recorded)
        for place in self.run.of("placed", purpose="design"):
            number, designer = place["round"], place["designer"]
            if place["moved"] and number > 0 and (number, "round") in whole:
                name = f"r{number:03d}-sound-{designer}"
                looks = [
                    {array.name: {radio: self._taken(f"{name}-l{look}-{array.name}", radio) for radio in lab.user_radio.values()}
                     for array in lab.transmitters}
                    for look in range(LOOKS)
                ]  # fmt: skip
                yield np.array(place["reached"]), sounding.links([sounding.understand(look, raw=False) for look in looks])

    def _taken(self, name: str, radio: str) -> Taken:
        """The capture of this name at a radio, the second one where the first was spoilt."""
        again = f"{name}{AGAIN}-{radio}"
        name = again if again in self.run.captures else f"{name}-{radio}"
        recorded = self.run.capture(name, verify=True)
        return Taken(name, f"captures/{name}.sigmf-data", radio, recorded)
