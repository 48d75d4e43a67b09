"""Trials of several cells: base stations that stand still, serve users and sense a target each, apart or together."""
