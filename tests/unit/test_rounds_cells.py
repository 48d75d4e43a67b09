"""A run of several cells as lines, and what the plan of one says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from cells_run import MULTICELL
from test_cli import hil
from test_rounds_view import Screen, view_of

from hil import scenario, testbed
from hil.commands.rounds import RoundsView

TRANSCRIPT = """\
run     runs/20260314-152033-multicell-k7qd      seed 1, depth process, virtual time
bench   2 base stations x 6 + 10, 6 users in 2 cells, 2 targets, 3.5 GHz, 3.84 MS/s
calib   no records for this emulated bench: what is needed is measured within the run
round  design           promised predicted measured  bound   worst user, dB; target error (CRLB), °   EVM    took
    0  cbf-blp              10.0      10.8     10.9      -   below threshold                        29 %     1.3 s
    0  nominal-comp-blp     10.0      12.4      9.1      -   0.20 (0.06)                            35 %     1.3 s
warning[not-coherent] the phase is not kept: comp-blp gives way to cbf-blp
    1  comp-blp             10.0      12.5     12.4      -   0.30 (0.06), 1 unsure                  23 %     1.3 s
    2  comp-blp             10.0      10.8     10.7      -   0.10 (0.06)                            29 %     1.3 s   gave way to CBF
   round limit, muted, at rest
"""
ROUNDS = [  # predicted, measured, EVM; error of each cell's angle in degrees, None where it is below threshold
    (0, "cbf-blp", 10.8, 10.9, 0.29, (None, None)),
    (0, "nominal-comp-blp", 12.4, 9.1, 0.35, (-0.1, 0.2)),
    (1, "comp-blp", 12.5, 12.4, 0.23, (-0.3, None)),
    (2, "comp-blp", 10.8, 10.7, 0.29, (0.1, 0.05)),
]


def told(rounds: list[tuple[Any, ...]], gave_way: tuple[int, ...] = (2,)) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"event": "recorded", "round": 0, "t": 0.0, "what": "explore"}]
    for place, (number, designer, predicted, measured, evm, errors) in enumerate(rounds):
        base = {"round": number, "designer": designer, "t": 1.3 * place + 0.1}
        if number in gave_way:
            message = "the phase is not kept: comp-blp gives way to cbf-blp"
            found.append({"event": "warned", "round": number, "t": base["t"], "id": "not-coherent", "device": "", "message": message})
        found += [
            {**base, "event": "designed", "promised": 10.0, "predicted": predicted, "bound": None},
            *(
                {**base, "event": "measured", "target": {
                    "cell": cell, "unit": "rad", "error": math.radians(8.0 if error is None else error), "ideal": math.radians(0.06), "crlb": 1.0,
                    "std": 1.0, "above_threshold": error is not None}}
                for cell, error in zip(("west", "east"), errors)
            ),
            *({**base, "event": "measured", "user": user, "sinr_db": measured + above, "evm": evm, "promised_db": 10.0, "upper_db": measured + above}
              for user, above in (("u1", 0.0), ("u4", 3.0))),
            {"event": "recorded", "round": number, "t": 1.3 * (place + 1), "what": "round" if number else designer},
        ]  # fmt: skip
    return [*found, {"event": "ended", "round": None, "t": 1.3 * len(rounds), "how": "limit", "muted": True, "at_rest": True}]


def shown(screen: Screen, events: list[dict[str, Any]]) -> RoundsView:
    view = view_of(screen)
    asked = scenario.parse((MULTICELL / "scenario.toml").read_text().replace('["cbf-blp"]', '["cbf-blp", "nominal-comp-blp"]'))
    view.opening("runs/20260314-152033-multicell-k7qd", 1, "process", asked, testbed.load(MULTICELL))
    for event in events:
        view(event)
    return view


def test_the_transcript_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    view = shown(screen, told(ROUNDS))
    lines = screen.getvalue()
    assert lines.replace("gave way to CBF   round limit", "gave way to CBF\n   round limit") == TRANSCRIPT
    assert view.summary() == [
        "comp-blp           10.7 dB   promise kept in 2 of 2 rounds; gave way to CBF in 1 of 2; "
        "3 of 4 angles above threshold, 0.18\N{DEGREE SIGN} rms",
        "cbf-blp            10.9 dB",
        "nominal-comp-blp    9.1 dB   promise broken",
    ]
    assert [row["gave_way"] for row in view.result()["rounds"]] == [False, False, False, True]


def test_what_a_design_has_over_the_others_is_said_beside_them() -> None:
    lines = shown(Screen(), told(ROUNDS[:3], gave_way=())).summary()
    assert lines[1].endswith("10.9 dB   sending together brings 1.5 dB")
    assert lines[2].endswith("9.1 dB   promise broken; caution brings 3.3 dB")


def test_seen_from_beamforming_cooperation_is_worth_the_same() -> None:
    rounds = [(0, "comp-blp", 12.5, 12.4, 0.23, (0.1, 0.1)), (1, "cbf-blp", 10.8, 10.9, 0.29, (0.1, 0.1))]
    assert shown(Screen(), told(rounds, gave_way=())).summary()[1].endswith("12.4 dB   sending together brings 1.5 dB")


def test_the_plan_of_static_arrays_counts_what_is_captured(capsys: pytest.CaptureFixture[str]) -> None:
    """A push: two looks of two turns of 36 symbols at six users; 280 symbols twice there, and 55 ms and a turn at twice ten channels."""
    plans = [json.loads(hil("run", MULTICELL, "--plan", "--rounds", str(rounds), "--json", capsys=capsys)[1])["result"] for rounds in (1, 2)]
    user, station = 2 * (2 * 36 + 2) * 137 + (2 * 280 + 2) * 137, 0.055 * 3.84e6 + 280 * 137
    assert plans[1]["capture_bytes"] - plans[0]["capture_bytes"] == pytest.approx(4 * (6 * user + 20 * station), rel=1e-9)
    once = 2 * plans[0]["capture_bytes"] - plans[1]["capture_bytes"] - 4 * (6 * user + 20 * station)  # a baseline is a push as well
    assert once == pytest.approx(4 * 26 * (36 * 137 + 65536), rel=1e-9)
    assert plans[0]["moves"] == [] and plans[0]["devices"] == 8
