"""Contract suites that any Radio, Stage or Link can be put through, and devices without physics to try a loop or a node with."""

from __future__ import annotations

from hil.testing.instant import InstantRadio, InstantStage
from hil.testing.link_contract import link_contract
from hil.testing.radio_contract import radio_contract
from hil.testing.stage_contract import stage_contract

__all__ = ["InstantRadio", "InstantStage", "link_contract", "radio_contract", "stage_contract"]
