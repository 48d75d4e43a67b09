"""Where things lie in a run folder."""

from __future__ import annotations

RUN_FORMAT = "hil.run.v1"
CAPTURE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def data_file(capture: str) -> str:
    return f"captures/{capture}.sigmf-data"


def meta_file(capture: str) -> str:
    return f"captures/{capture}.sigmf-meta"


def collection_file(round: int) -> str:
    return f"captures/r{round:03d}.sigmf-collection"


def design_file(round: int, designer: str, step: str = "") -> str:
    """`my_module:MyDesigner` and the like become letters a file name can have."""
    safe = "".join(letter if letter.isalnum() or letter in "-+._" else "-" for letter in designer)
    return f"designs/r{round:03d}-{safe}{'-' + step if step else ''}.npz"


def field_file(round: int, transmitter: str, user: str) -> str:
    return f"fields/r{round:03d}-{transmitter}-{user}.npz"


# Keys of fields/*.npz: the channel between one transmitter's rail and one user at the centre frequency. Positions are metres of local x;
# channels are complex amplitude gains, y = h x. A common phase per sounding is removed: values of one file can be laid over each other.
RAIL: dict[str, str] = {
    "grid": "(point,) m, where the path fit was evaluated",
    "predicted": "(point,) channel there by the path fit, from the visited positions only",
    "variance": "(point,) error variance of it, E|error|^2",
    "visited": "(visit,) m, positions the path fit was made from",
    "visited_value": "(visit,) channel measured there",
    "visited_variance": "(visit,) error variance of it",
    "sounded": "(position,) m, positions sounded again after a move, as read back",
    "sounded_value": "(position,) channel measured there",
    "sounded_variance": "(position,) error variance of it",
    "sounded_predicted": "(position,) what the path fit had predicted there; absent: read off the grid (at least 20 points a wavelength)",
    "sounded_predicted_variance": "(position,) error variance of that",
}
RAIL_REQUIRED = ("grid", "predicted", "variance")
