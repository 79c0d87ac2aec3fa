"""Extensions of ours that go over the wire, by the names under which ApiVersions advertises them.

They stand among a broker's supported features. A member sends what an extension needs only to a
broker that advertises it; Apache Kafka advertises none.
"""

from __future__ import annotations

from typing import Final

TASK_OFFSETS: Final = "streamkit.task.offsets"
"""Heartbeats may carry task offsets, and warm-up tasks are assigned to those who send them."""

TOPOLOGY_UPDATES: Final = "streamkit.topology.updates"
"""A topology of a higher epoch may take the place of the group's."""

GROUP_CONFIGS: Final = "streamkit.group.configs"
"""There are group configs for warm-ups, weights, lags and tags."""

VERSION: Final = 1
"""The only level of each."""
