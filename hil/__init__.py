"""Closed-loop trials of movable-antenna integrated sensing and communication, on an emulator or over the air."""
