"""The last page: what a stranger needs to repeat the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from hil.records import Run
from hil.report.table import table

# key of settings.json -> (word, unit, of one unit, tolerance's key)
_SETTINGS = {
    "carrier_hz": ("carrier", "GHz", 1e9, "carrier_hz"),
    "sample_rate_hz": ("sample rate", "MS/s", 1e6, "sample_rate_hz"),
    "receive_gain_db": ("receive gain", "dB", 1.0, "gain_db"),
    "attenuation_db": ("attenuation", "dB", 1.0, "gain_db"),
}


def provenance(run: Run) -> str:
    about = run.about
    parts = ["<h2>Provenance: can a stranger repeat it?</h2>"]
    parts.append(table(["", ""], [("", [escape(name), value]) for name, value in _facts(run).items()], left=(0, 1)))
    parts += [] if run.study else [_devices(run), _settings(run), _calibrations(run), _captures(run)]
    if about.get("inputs"):
        rows = [("", [escape(name), f'<span class="hash">{digest}</span>']) for name, digest in about["inputs"].items()]
        parts.append(table(["input", "SHA-512"], rows, "Byte copies in the run folder. SHA512SUMS covers every file of it.", left=(0, 1)))
    commands = f"(cd {run.name} &amp;&amp; sha512sum -c SHA512SUMS)\n{escape(about.get('command', ''))}"
    parts.append(f"<p>To check it, and to repeat it:</p><pre><code>{commands}</code></pre>")
    return "\n".join(part for part in parts if part)


def _facts(run: Run) -> dict[str, str]:
    about = run.about
    others = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items() if name != "hil")
    changed = {True: ", with changes not committed", False: "", None: ""}[about.get("dirty")]
    facts = {
        "command": f"<code>{escape(about.get('command', ''))}</code>",
        "seed": escape(str(about.get("seed"))),
        "depth": "on the air" if about.get("air") else f"emulated, {escape(str(about.get('depth')))}",
        "started": escape(f"{about.get('started')}"),
        "ended": escape(f"{(about.get('ended') or {}).get('utc', 'never')}, {run.ended}"),
        "hil": escape(f"{about.get('hil')}, commit {about.get('commit') or 'unknown'}{changed}"),
        "versions": escape(others),
        "host": escape(str(about.get("host"))),
    }
    again = [f"{entry['utc']} after event {entry['after_event']}: {entry['command']}" for entry in about.get("resumed", [])]
    return facts | ({"resumed": "<br>".join(map(escape, again))} if again else {})


def _devices(run: Run) -> str:
    """As they named themselves; a device that was opened again, once."""
    opened = {event["device"]: event for event in run.of("opened")}
    keys = ("device", "part", "serial", "firmware", "profile", "node")
    rows = [("", [escape(str(event.get(key) or "-")) for key in keys]) for event in opened.values()]
    return table(list(keys), rows, "Devices, as they answered.", left=range(len(keys))) if rows else ""


def _settings(run: Run) -> str:
    """Each radio as last asked; read back after an arrow where that differs, with what its profile tolerates."""
    rows = []
    for device, history in run.settings.items():
        if history:
            cells = [_setting(history[-1], key, unit, one, tolerated) for key, (_, unit, one, tolerated) in _SETTINGS.items()]
            missed = [entry.get("setting", "") for entry in history[-1].get("differences", [])]
            rows.append(("", [escape(device), *map(escape, cells), f"BEYOND: {escape(', '.join(missed))}" if missed else "kept", str(len(history))]))
    head = ["device", *(word for word, *_ in _SETTINGS.values()), "tolerance", "times set"]
    said = "Settings as last asked, and after an arrow as read back where that differs; every one is in settings.json."
    return table(head, rows, said, left=range(6)) if rows else ""


def _setting(last: dict[str, Any], key: str, unit: str, one: float, tolerated: str) -> str:
    asked, became = (_each(last.get(which, {}).get(key), one) for which in ("asked", "became"))
    if not asked and not became:
        return "-"
    limit = last.get("tolerance", {}).get(tolerated)
    within = "" if limit is None else f" \N{PLUS-MINUS SIGN} {limit:g}{' Hz' if tolerated.endswith('_hz') else ''}"
    both = asked if asked == became else f"{asked} \N{RIGHTWARDS ARROW} {became}"
    return f"{both} {unit}{within}"


def _each(values: Sequence[float] | float | None, one: float) -> str:
    """One number when all channels agree."""
    listed = [] if values is None else list(values) if isinstance(values, (list, tuple)) else [values]
    words = [f"{value / one:.10g}" for value in listed]
    return words[0] if len(set(words)) == 1 else " ".join(words)


def _calibrations(run: Run) -> str:
    """Records in force, with their age when the run began; or that there were none."""
    events = run.of("calibrated")
    if not events:
        return "<p>No calibration record was in force: what was needed was measured within the run.</p>"
    rows = []
    for event in events:
        drift = "-" if event.get("drift_sigma") is None else f"{float(event['drift_sigma']):.1f} std"
        cells = [str(event.get("what", "")), str(event.get("of", "")), str(event.get("record", "")), _age(run, event), str(event.get("until") or "-")]
        rows.append(("", [*map(escape, cells), drift]))
    return table(["calibration", "of", "record", "age", "valid until", "drift"], rows, "Calibrations in force.", left=range(5))


def _age(run: Run, event: dict[str, Any]) -> str:
    """Days from the record's own date to the run's start; records lie among the inputs, by name."""
    name = str(event.get("record") or "")
    if name == "run":
        return "of this run"
    held = next((path for path in run.about["inputs"] if name and path.endswith(f"{name.rpartition('/')[2]}")), None)
    if held is None:
        return "-"
    taken = json.loads(run.input(held)).get("utc")
    return "-" if taken is None else f"{(_utc(run.about['started']) - _utc(taken)).total_seconds() / 86400:.1f} days"


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _captures(run: Run) -> str:
    events = run.of("captured")
    if not events:
        return ""
    rows = []
    for purpose in dict.fromkeys(str(event.get("purpose")) for event in events):
        some = [event for event in events if str(event.get("purpose")) == purpose]
        sizes = sum(path.stat().st_size for event in some if (path := run.folder / event["file"]).exists()) / 1e6
        samples = sum(int(event.get("samples") or 0) for event in some) / 1e6
        loss = {word: sum(event.get("loss") == word for event in some) for word in ("none", "some", "unknown")}
        said = ", ".join(f"{word} {count}" for word, count in loss.items() if count)
        clipped = sum(bool(event.get("clipped")) for event in some)
        rows.append(("", [escape(purpose), str(len(some)), f"{samples:.2f} M", f"{sizes:.1f} MB", said, str(clipped)]))
    return table(["captures", "files", "samples per channel", "size", "samples lost", "clipped"], rows, left=(0, 4))
