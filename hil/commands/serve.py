"""`hil node`: the daemon beside the hardware."""

from __future__ import annotations

from pathlib import Path

from hil.commands.streams import Streams


def node(streams: Streams, file: Path) -> int:
    """Serve a node file until told to stop; refuses any address but loopback while there are no keys."""
    from hil.node.guardian import guard
    from hil.testbed import load_node

    settings = load_node(file)
    if not settings.loopback:
        assert settings.source is not None
        raise settings.source.error(
            "not-loopback",
            "without keys a node answers on this machine only",
            "listen",
            found=f'"{settings.listen}"',
            allowed="tcp://127.0.0.1:PORT",
            fix="listen on loopback, and reach it from elsewhere through an encrypted tunnel (ssh -L)",
        )
    path = Path(settings.source.file) if settings.source is not None else file
    streams.say(f"node `{settings.name}` listens at {settings.listen}; lease {settings.lease_ms:g} ms; Ctrl-C mutes, halts and ends it")
    return guard(str(path))
