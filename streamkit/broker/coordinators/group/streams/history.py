"""Why a group's epoch moved: the last rebalances, for the log and for who describes the group.

An extension of ours: it goes out as the message beside error code 0 of StreamsGroupDescribe,
which other clients do not read. `group.streams.rebalance.reasons=false` switches it off.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

HISTORY_MAX = 10
"""Rebalances that are remembered; a new leader begins anew."""

logger = logging.getLogger(__name__)


class RebalanceHistory:
    """The causes of the last epochs of one group, oldest first."""

    def __init__(self) -> None:
        self.is_told = True
        self._entries: deque[tuple[int, str]] = deque(maxlen=HISTORY_MAX)

    def note(self, group_id: str, epoch: int, causes: Sequence[str]) -> None:
        """The group moves on to this epoch, because of these."""
        cause = "; ".join(causes) or "for no known cause"
        self._entries.append((epoch, cause))
        if self.is_told:
            logger.info("group %s: epoch %d: %s", group_id, epoch, cause)

    def text(self) -> str | None:
        """The last rebalances, newest first; None when there is nothing to tell."""
        if not self.is_told or not self._entries:
            return None
        told = [f"epoch {epoch}: {cause}" for epoch, cause in reversed(self._entries)]
        return "Last rebalances: " + ". ".join(told) + "."
