"""What a reader should know before believing a run: everything in its record that is not as it should be."""

from __future__ import annotations

from collections import Counter

from hil.records import Run
from hil.report.angles import bearings
from hil.report.facts import Facts, counted, number
from hil.report.rail import TRUSTED, rails


def flags(run: Run, found: Facts) -> list[str]:
    """A sentence each; [] when there is nothing to say."""
    return [*_promises(run, found), *_complaints(run), *_captures(run), *_estimates(run), *_settings(run), *_record(run)]


def _promises(run: Run, found: Facts) -> list[str]:
    said = [
        f"The promise of {entry.designer} in round {entry.number} was broken by {number(entry.shortfall)} dB."
        for entry in found.rounds
        if entry.kept is False
    ]
    failed = [event for event in run.of("judged") if event.get("pass") is False]
    if failed:
        most = max(float(event.get("shortfall") or 0.0) for event in failed)
        said.append(f"{counted(len(failed), 'design')} promised more than the worst member of the set keeps, by up to {number(most, 2)} dB.")
    impossible = [event for event in run.of("designed") if event.get("infeasible")]
    if impossible:
        said.append(f"{counted(len(impossible), 'design')} could not be had: infeasible.")
    return said


def _complaints(run: Run) -> list[str]:
    """Warnings by id, with the first one's words; failures one by one."""
    warned = run.of("warned")
    said = []
    for name, count in Counter(str(event.get("id")) for event in warned).items():
        first = next(event for event in warned if str(event.get("id")) == name)
        times = "" if count == 1 else f" ({count} times)"
        device = f" {first['device']}" if first.get("device") else ""
        said.append(f"Warning {name}{times}:{device} {first.get('message')}.")
    return said + [
        f"Failure {event.get('id')}: {event.get('device') or ''} {event.get('message')}.".replace(":  ", ": ") for event in run.of("failed")
    ]


def _captures(run: Run) -> list[str]:
    captured = run.of("captured")
    lost = sum(event.get("loss") == "some" for event in captured)
    clipped = [float(event["clipped"]) for event in captured if event.get("clipped")]
    said = [f"{lost} of {len(captured)} captures lost samples."] if lost else []
    return said + ([f"{len(clipped)} of {len(captured)} captures clipped, up to {100 * max(clipped):.2g} % of their samples."] if clipped else [])


def _estimates(run: Run) -> list[str]:
    below = Counter(event["what"] for event in run.of("estimated") if event.get("above_threshold") is False)
    targets = [event["target"] for event in run.of("measured") if event.get("target")]
    below.update(f"target {'angle' if one.get('unit') == 'rad' else 'position'}" for one in targets if one.get("above_threshold") is False)
    said = [f"Below threshold, used in no set: {', '.join(f'{what} ({count})' for what, count in below.items())}."] if below else []
    told = [fix.within for fix in bearings(run) if fix.sure and fix.within is not None]
    if told and sum(told) < TRUSTED * len(told):
        said.append(f"Only {sum(told)} of {len(told)} angles above threshold lie in their 95 % region.")
    points = [bool(inside) for rail in rails(run) for inside in rail.sounded.within]
    if points and sum(points) < TRUSTED * len(points):
        said.append(f"Only {sum(points)} of {len(points)} channels sounded after a move lie in the 95 % region predicted for them.")
    return said


def _settings(run: Run) -> list[str]:
    differ = [device for device, history in run.settings.items() if any(step.get("differences") for step in history)]
    differ += [event["device"] for event in run.of("opened") if event.get("differences")]
    return [f"Settings that did not become what was asked: {', '.join(dict.fromkeys(differ))}."] if differ else []


def _record(run: Run) -> list[str]:
    last = run.about.get("ended") or {}
    said = [] if not last or (last.get("muted") and last.get("at_rest")) else ["The bench is NOT known to be muted and at rest."]
    return said + (["The last line of the record was not whole and was left out."] if run.dropped else [])
