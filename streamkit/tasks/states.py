"""The states of a worker, by Kafka Streams' names, and who is told of them.

CREATED, then REBALANCING until every task runs, RUNNING, and back whenever one does not; at the end
PENDING_SHUTDOWN and NOT_RUNNING, or PENDING_ERROR and ERROR.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum

log = logging.getLogger(__name__)


class State(Enum):
    """Where a worker is in its life; `_MOVES` says where it may go."""

    CREATED = "CREATED"
    REBALANCING = "REBALANCING"
    RUNNING = "RUNNING"
    PENDING_SHUTDOWN = "PENDING_SHUTDOWN"
    NOT_RUNNING = "NOT_RUNNING"
    PENDING_ERROR = "PENDING_ERROR"
    ERROR = "ERROR"


_MOVES = {
    State.CREATED: (State.REBALANCING, State.PENDING_SHUTDOWN),
    State.REBALANCING: (State.RUNNING, State.PENDING_SHUTDOWN, State.PENDING_ERROR),
    State.RUNNING: (State.REBALANCING, State.PENDING_SHUTDOWN, State.PENDING_ERROR),
    State.PENDING_SHUTDOWN: (State.NOT_RUNNING, State.PENDING_ERROR),
    State.NOT_RUNNING: (State.REBALANCING,),
    State.PENDING_ERROR: (State.ERROR,),
    State.ERROR: (State.REBALANCING,),
}

StateListener = Callable[[State, State], object]
"""Called with the new state and the old one, in the worker's event loop."""


class States:
    """The state that a worker is in."""

    def __init__(self, listener: StateListener | None = None) -> None:
        self.current = State.CREATED
        self._listener = listener

    @property
    def is_listened_to(self) -> bool:
        """Whether anybody is told."""
        return self._listener is not None

    def move(self, to: State) -> None:
        """Go there, unless it is there already."""
        if to is self.current:
            return
        assert to in _MOVES[self.current], f"a worker cannot go from {self.current} to {to}"
        old, self.current = self.current, to
        if self._listener is None:
            return
        try:
            self._listener(to, old)
        except Exception:  # the user's code: the worker goes on without it
            log.exception("the listener of states failed at %s", to.value)

    def end(self, *, has_failed: bool) -> None:
        """Come to an end, of either kind."""
        if not has_failed:
            self.move(State.PENDING_SHUTDOWN)
            self.move(State.NOT_RUNNING)
        else:
            self.move(State.PENDING_ERROR)
            self.move(State.ERROR)
