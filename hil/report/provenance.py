"""The last page: what a stranger needs to repeat the run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from hil.records import Run
from hil.report.table import table


def provenance(run: Run) -> str:
    about = run.about
    parts = ["<h2>Provenance: can a stranger repeat it?</h2>"]
    parts.append(table(["", ""], [("", [escape(name), value]) for name, value in _facts(run).items()], left=(0, 1)))
    devices = [("", [escape(cell) for cell in _device(run, event)]) for event in run.of("opened")]
    if devices:
        head = ["device", "serial", "profile", "read back", "gains", "settings"]
        parts.append(table(head, devices, "Devices, as they answered.", left=range(6)))
    if about.get("inputs"):
        rows = [("", [escape(name), f'<span class="hash">{digest}</span>']) for name, digest in about["inputs"].items()]
        parts.append(table(["input", "SHA-512"], rows, "Byte copies in the run folder. SHA512SUMS covers every file of it.", left=(0, 1)))
    commands = f"(cd {run.name} &amp;&amp; sha512sum -c SHA512SUMS)\n{escape(about.get('command', ''))}"
    parts.append(f"<p>To check it, and to repeat it:</p><pre><code>{commands}</code></pre>")
    return "\n".join(parts)


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


def _device(run: Run, opened: dict[str, Any]) -> list[str]:
    """One device as it was last read back."""
    history = run.settings.get(opened["device"], [])
    became = history[-1]["became"] if history else {}
    missed = history[-1]["differences"] if history else opened.get("differences") or []
    carrier = f"{became['carrier_hz'] / 1e9:.9g} GHz, {became['sample_rate_hz'] / 1e6:g} MS/s" if became else "-"
    gains = [
        f"{what} {_each(became[key])} dB" for key, what in (("receive_gain_db", "receive"), ("attenuation_db", "back")) if became.get(key)
    ]
    took = ", ".join(f"{entry['setting']} asked {entry['asked']:g}, became {entry['became']}" for entry in missed)
    return [str(opened.get(key, "")) for key in ("device", "serial", "profile")] + [carrier, ", ".join(gains) or "-", took or "as asked"]


def _each(values: Sequence[float]) -> str:
    """One number when all channels agree."""
    return f"{values[0]:g}" if len(set(values)) == 1 else " ".join(f"{value:g}" for value in values)
