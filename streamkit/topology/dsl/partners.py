"""What two streams or tables must have in common to be brought together."""

from __future__ import annotations

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.fitting import type_name
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.topic import Topic


def partner_or_raise(other: object, kinds: tuple[type, ...], operator: str) -> None:
    """Raises TopologyError for what an operator cannot bring together with its own input."""
    if isinstance(other, kinds):
        return
    where = f"{operator} at {call_site()}"
    if isinstance(other, Topic):
        raise TopologyError(
            f"{where}: {other.name} is a topic: read it first, as app.stream({other.name}) or "
            f"app.table({other.name})"
        )
    wanted = " or ".join(f"a {kind.__name__}" for kind in kinds)
    got = type(other).__name__
    raise TopologyError(f"{where}: it takes {wanted}, not a {got}: {_INSTEAD.get(got, 'see help')}")


_INSTEAD = {
    "GlobalTable": "streams join global tables; read the topic as app.table(...) for this",
    "Table": "change it to a stream with .to_stream()",
    "Stream": "change it to a table with .to_table()",
    "str": "read the topic first, as app.stream(...) or app.table(...)",
}


def same_program_or_raise(scope: Scope, other: Scope, operator: str) -> None:
    """Raises TopologyError when two parts belong to different apps."""
    if scope is not other:
        raise TopologyError(
            f"{operator} at {call_site()}: the other one belongs to another App: a program is one "
            "App; what another writes is read from its topic"
        )


def same_keys_or_raise(one: Side, two: Side, operator: str) -> None:
    """Raises TopologyError when the declared types of keys differ: equal keys are never met."""
    if one.declared is None or two.declared is None:
        return
    if one.serde == two.serde or one.declared == two.declared:
        return
    raise TopologyError(
        f"{operator} at {call_site()}: keys of type {type_name(one.declared)} never meet keys of "
        f"type {type_name(two.declared)}: give one side the other's keys, with select_key() or, "
        "for a table, on="
    )
