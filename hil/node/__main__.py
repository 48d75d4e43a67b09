"""A node: `python -m hil.node FILE [--devices JSON]`, FILE being a node file or a launcher's plan."""

from __future__ import annotations

import argparse
import sys

from hil.node.guardian import guard


def main() -> int:
    parser = argparse.ArgumentParser(prog="hil node", description="The daemon beside the hardware: owns its devices, enforces its limits.")
    parser.add_argument("file")
    parser.add_argument("--devices", help="JSON of devices to open")
    parser.add_argument("--silence-s", type=float, default=1.0, help="a worker silent for longer is replaced")
    parser.add_argument("--owned-by", type=int, help="process whose end is this one's")
    told = parser.parse_args()
    return guard(told.file, told.devices, silence_s=told.silence_s, owned_by=told.owned_by)


if __name__ == "__main__":
    sys.exit(main())
