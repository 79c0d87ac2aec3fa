"""What `print()` writes, and where to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import call_site


def printer(
    label: str, mapper: Callable[[Any, Any], object], to: TextIO | None
) -> Callable[[Any, Any], None]:
    """What writes one record, to standard output as it is then. Raises TopologyError."""
    if to is not None and not callable(getattr(to, "write", None)):
        raise TopologyError(
            f"print() at {call_site()}: to={to!r} cannot be written to: give an open text file, "
            "or leave it out for standard output"
        )

    def write(key: Any, value: Any) -> None:
        (to or sys.stdout).write(f"[{label}]: {mapper(key, value)}\n")

    return write
