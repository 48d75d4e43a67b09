"""A run as lines: compared with the transcript of the specification, character by character."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from bench_files import QUICKSTART

from hil import scenario, testbed
from hil.commands.rounds import RoundsView
from hil.commands.streams import Streams
from hil.commands.trial import exit_code
from hil.errors import InputError

TRANSCRIPT = """\
run     runs/20260314-152033-quickstart-k7qd      seed 1, depth process, virtual time
bench   2 access points x 4 movable elements, 1 sensing array x 4, 2 users, 1 target, 3.5 GHz, 15.36 MS/s
calib   no records for this emulated bench: what is needed is measured within the run
round  design     promised predicted measured  bound   worst user, dB; target error (CRLB), m   EVM   moved    took
    0  fixed-rzf         -      11.0     10.8      -   0.61 (0.55)                            29 %    -      1.9 s
    0  fixed          11.9      12.8     12.7   13.1   0.60 (0.55)                            23 %    -      2.4 s
    0  sparse         14.7      15.9     15.7   17.9   0.57 (0.52)                            16 %   8/8     6.2 s
    1  robust         15.9      17.0     16.8   18.4   0.44 (0.50)                            14 %   8/8     5.1 s
    2  robust         16.6      17.5     17.4   18.3   0.49 (0.48)                            13 %   5/8     3.7 s
    3  robust         16.8      17.6     17.5   18.3   0.51 (0.48)                            13 %   2/8     2.8 s\
   converged (< 0.1 dB), muted, at rest
"""
SUMMARY = """\
robust      17.5 dB   promise kept in 3 of 3 rounds; the last 1.5 dB below its bound
sparse      15.7 dB   so 1.8 dB of the gain need motion ...
fixed       12.7 dB   ... 3.0 dB only a wider array ...
fixed-rzf   10.8 dB   ... and 1.9 dB only a better precoder
"""

ROUNDS = [
    (0, "fixed-rzf", None, 11.0, 10.8, None, 0.61, 0.55, 0.29, 0, 1.9),
    (0, "fixed", 11.9, 12.8, 12.7, 13.1, 0.60, 0.55, 0.23, 0, 2.4),
    (0, "sparse", 14.7, 15.9, 15.7, 17.9, 0.57, 0.52, 0.16, 8, 6.2),
    (1, "robust", 15.9, 17.0, 16.8, 18.4, 0.44, 0.50, 0.14, 8, 5.1),
    (2, "robust", 16.6, 17.5, 17.4, 18.3, 0.49, 0.48, 0.13, 5, 3.7),
    (3, "robust", 16.8, 17.6, 17.5, 18.3, 0.51, 0.48, 0.13, 2, 2.8),
]


def events(how: str = "converged", rounds: list[tuple[Any, ...]] = ROUNDS) -> list[dict[str, Any]]:
    """The events that make these lines, others between them."""
    t = 10.0
    found: list[dict[str, Any]] = [
        {"event": "started", "round": None, "t": 0.0},
        {"event": "state", "round": 0, "t": 0.0, "from": "idle", "to": "exploring", "why": ""},
        {"event": "placed", "round": 0, "t": 5.0, "purpose": "explore", "moved": 6, "movable": 8},
        {"event": "recorded", "round": 0, "t": t, "what": "explore"},
    ]
    for number, designer, promised, predicted, measured, bound, error, crlb, evm, moved, took in rounds:
        t += took
        base = {"round": number, "designer": designer, "t": t - 0.1}
        early = {"promised": 1.0, "predicted": 2.0, "bound": None}
        users = [("u2", measured + 1.5, 0.05), ("u1", measured, evm)]
        found += [
            {**base, "event": "state", "from": "estimating", "to": "designing", "why": ""},
            {**base, "event": "designed", "step": "positions", **early},
            {**base, "event": "placed", "purpose": "design", "moved": moved, "movable": 8},
            {**base, "event": "designed", "step": "precoders", "promised": promised, "predicted": predicted, "bound": bound},
            *({**base, "event": "measured", "user": user, "sinr_db": sinr, "evm": one, "promised_db": promised, "upper_db": sinr + 0.2}
              for user, sinr, one in users),
            {**base, "event": "measured", "target": {"position": [9, -4, 1], "error": error, "crlb": crlb}},
            {**base, "event": "recorded", "t": t, "what": "round" if number else designer},
        ]  # fmt: skip
    last = {"round": 3, "t": t}
    return [
        *found,
        {**last, "event": "state", "from": "measuring", "to": "idle", "why": how},
        {**last, "event": "ended", "how": how, "muted": True, "at_rest": True},
    ]


class Screen(io.StringIO):
    """A terminal; its value is what stands on it when all is written, `written` everything that was sent to it."""

    def isatty(self) -> bool:
        return True

    @property
    def written(self) -> str:
        return super().getvalue()

    def getvalue(self) -> str:
        return "\n".join(line.rpartition("\r\x1b[2K")[2] for line in self.written.split("\n"))


def view_of(stream: io.StringIO, **how: Any) -> RoundsView:
    streams = Streams("run", err=stream, out=io.StringIO(), color="never", **how)
    return RoundsView(streams, utc=lambda: datetime(2026, 3, 14, 15, 20, 41, tzinfo=UTC))


def shown(stream: io.StringIO, told: list[dict[str, Any]], **how: Any) -> RoundsView:
    view = view_of(stream, **how)
    bench = scenario.load(QUICKSTART), testbed.load(QUICKSTART)
    view.opening("runs/20260314-152033-quickstart-k7qd", 1, "process", *bench)
    for event in told:
        view(event)
    return view


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_the_transcript() -> None:
    screen = Screen()
    view = shown(screen, events())
    assert screen.getvalue() == TRANSCRIPT
    assert "\n".join(view.summary()) + "\n" == SUMMARY
    assert exit_code(view) == 0


def test_one_plain_line_per_round_with_utc_where_nobody_looks() -> None:
    pipe = io.StringIO()
    shown(pipe, events())
    assert pipe.getvalue().splitlines() == [f"15:20:41Z {line}" for line in TRANSCRIPT.splitlines()]


def test_a_round_s_line_is_there_before_the_next_round_is_measured() -> None:
    screen = Screen()
    told = events()
    cut = next(index for index, event in enumerate(told) if event["event"] == "designed" and event.get("designer") == "fixed")
    shown(screen, told[:cut])
    assert "    0  fixed-rzf " in screen.getvalue()


def test_quiet_says_nothing_and_the_summary_is_the_same() -> None:
    screen = Screen()
    view = shown(screen, events(), quiet=True)
    assert screen.getvalue() == "" and "\n".join(view.summary()) + "\n" == SUMMARY


@pytest.mark.parametrize(
    ("how", "code", "words"), [("limit", 0, "round limit"), ("interrupted", 130, "interrupted"), ("fault", 3, "fault"), ("safe", 4, "safe")]
)
def test_how_it_ended_is_the_last_remark_and_the_exit_code(how: str, code: int, words: str) -> None:
    screen = Screen()
    view = shown(screen, events(how))
    assert screen.getvalue().endswith(f"2.8 s   {words}, muted, at rest\n") and exit_code(view) == code


def test_a_broken_promise_is_counted() -> None:
    told = [
        dict(event, upper_db=16.5) if event["event"] == "measured" and event.get("round") == 2 and event.get("user") == "u1" else event
        for event in events()
    ]
    assert "promise kept in 2 of 3 rounds" in shown(Screen(), told).summary()[0]


def test_baselines_that_were_left_out_leave_no_step() -> None:
    only = [row for row in ROUNDS if row[1] in ("robust", "fixed")]
    assert shown(Screen(), events(rounds=only)).summary() == [
        "robust      17.5 dB   promise kept in 3 of 3 rounds; the last 1.5 dB below its bound",
        "fixed       12.7 dB",
    ]


def test_what_is_infeasible_says_so() -> None:
    told = [dict(event, infeasible=True) if event["event"] == "designed" and event["round"] == 3 else event for event in events()]
    screen = Screen()
    view = shown(screen, told)
    assert "infeasible" in screen.getvalue().splitlines()[-1] and exit_code(view) == 1


def test_nothing_measured_yet() -> None:
    told = [event for event in events("interrupted") if event["event"] in ("started", "ended")]
    screen = Screen()
    view = shown(screen, told)
    assert view.summary() == [] and exit_code(view) == 130 and screen.getvalue().endswith("interrupted, muted, at rest\n")


def test_one_element_s_way_is_given_in_millimetres() -> None:
    told: list[dict[str, Any]] = []
    for event in events(rounds=[(1, "robust", 17.2, 19.0, 18.6, 20.1, None, None, 0.12, 1, 3.4)]):
        told.append({**event, "movable": 1} if event["event"] == "placed" else event)
        if event["event"] == "placed" and event["purpose"] == "design":
            told.append({"event": "moved", "round": 1, "designer": "robust", "t": 11.0, "from": 0.012, "reached": 0.0963})
    line = next(line for line in _lines(told) if "robust" in line)
    assert line.startswith("    1  robust         17.2      19.0     18.6   20.1") and "12 %   84.3 mm" in line


def _lines(told: list[dict[str, Any]]) -> list[str]:
    screen = Screen()
    shown(screen, told)
    return screen.getvalue().splitlines()


def test_states_with_v_everything_with_vv() -> None:
    for verbose, wanted, unwanted in ((0, "robust ", "designing"), (1, "to=designing", "step=positions"), (2, "step=positions", "")):
        screen = Screen()
        shown(screen, events(), verbose=verbose)
        assert wanted in screen.getvalue() and (not unwanted or unwanted not in screen.getvalue())


def test_warnings_are_shown() -> None:
    warning = {"event": "warned", "round": 1, "t": 1.0, "id": "clipped", "device": "u1", "message": "2 % of samples at the rails"}
    assert "warning[clipped] u1 2 % of samples at the rails" in _lines([warning])[-1]


def test_one_progress_bar_under_the_lines_of_a_terminal_and_none_elsewhere() -> None:
    screen, pipe = Screen(), io.StringIO()
    shown(screen, events())
    assert screen.written.count("[....................] round 0 exploring") == 1
    assert "\r\x1b[2K    0  fixed " in screen.written and "[#############.......] round 3 robust designing" in screen.written
    assert screen.written.endswith("at rest\n") and "designing" not in screen.getvalue()
    shown(pipe, events())
    assert "\x1b" not in pipe.getvalue() and "\r" not in pipe.getvalue()


def test_an_error_stands_on_a_line_of_its_own() -> None:
    screen = Screen()
    view = shown(screen, events()[:2])
    assert screen.getvalue().endswith("exploring")
    view.streams.failed(InputError("usage", "no", key="x"))
    assert screen.getvalue().endswith("measured within the run\nerror[usage] x: no\n")
