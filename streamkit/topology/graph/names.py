"""Names of nodes, stores and topics: what Kafka accepts, and which were generated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import call_site

if TYPE_CHECKING:
    from streamkit.topology.plan import Topology

LENGTH_MAX = 249
_GENERATED = re.compile(r"(KSTREAM|KTABLE|COGROUPKSTREAM)-[A-Z-]+-\d{10}|-STATE-STORE-\d{10}")
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")


def check_name(name: str) -> str:
    """The name itself. Raises TopologyError when Kafka would refuse it."""
    if not isinstance(name, str):
        raise TopologyError(
            f"{call_site()}: name {name!r} is no text: give one, as in name='orders'"
        )
    if name in {"", ".", ".."} or len(name) > LENGTH_MAX or not _LEGAL.fullmatch(name):
        raise TopologyError(
            f"{call_site()}: Name {name!r} is illegal: use 1 to {LENGTH_MAX} ASCII letters, "
            "digits, '.', '_' and '-', but not '.' or '..'"
        )
    return name


def check_all_named(topology: Topology) -> None:
    """Raise TopologyError when a topic or store has a generated name, which a change would move.

    `ensure.explicit.internal.resource.naming` asks for it (KIP-1111).
    """
    parts = topology.subtopologies
    prefix = f"{topology.application_id}-"
    found = {
        "repartition topics": [t.name for part in parts for t in part.repartition_sources],
        "changelog topics": [topic.name for part in parts for topic in part.changelogs],
        "state stores": [store.name for part in topology.parts for store in part.stores],
    }
    unnamed = []
    for what, names in found.items():
        bare = [name.removeprefix(prefix) for name in names]
        generated = [name for name in bare if _GENERATED.search(name)]
        if generated:
            unnamed.append(f"{what} {', '.join(generated)}")
    if unnamed:
        raise TopologyError(
            f"ensure.explicit.internal.resource.naming: without a name of their own are "
            f"{'; '.join(unnamed)}: give name= or store= to the operators that make them"
        )
