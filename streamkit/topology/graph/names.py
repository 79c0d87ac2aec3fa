"""Names of nodes, stores and topics: what Kafka accepts."""

from __future__ import annotations

import re

from streamkit.common.errors import TopologyError

LENGTH_MAX = 249
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")


def check_name(name: str) -> str:
    """The name itself. Raises TopologyError when Kafka would refuse it."""
    if name in {"", ".", ".."} or len(name) > LENGTH_MAX or not _LEGAL.fullmatch(name):
        raise TopologyError(
            f"Name {name!r} is illegal: use 1 to {LENGTH_MAX} ASCII letters, digits, '.', '_' "
            "and '-', but not '.' or '..'"
        )
    return name
