"""`process()` and `@app.processor`: the same node from a user's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.function import Contract, contract_of
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import Side, refuse_mismatch, unless_said
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder

_LAMBDA = "<lambda>"


@dataclass(frozen=True, slots=True)
class Processed:
    """The node of a processor, and what comes out of it."""

    node: GraphNode
    contract: Contract
    key: Side
    value: Side


def process_node(
    scope: Scope,
    function: Callable[..., Any],
    here: tuple[Side, Side],
    given: tuple[object, object],
    name: str | None,
    stores: Mapping[str, str] | None,
) -> Processed:
    """The logical node of a function; `here` is what comes, `given` are `key=` and `value=`.

    Raises TopologyError when the signature cannot be honoured or its types do not fit.
    """
    line = call_site()
    shown = str(name or getattr(function, "__name__", type(function).__name__))
    contract = contract_of(function, f"{shown} at {line}", stores or {})
    refuse_mismatch(here[1], contract.value, f"processor {shown} at {line}: it takes")
    refuse_mismatch(here[0], contract.key, f"processor {shown} at {line}: it takes the key")
    node_name = _node_name(scope, shown, name, contract)
    _claim_stores(scope, contract, node_name, stores or {}, line)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builders = [scope.function_stores[store.name][1] for store in contract.stores.values()]
        write_processor(builder, node_name, parents, lambda _: contract.make(node_name), builders)

    key = contract.result.key if contract.result.makes_records else here[0]
    return Processed(
        GraphNode(node_name, write),
        contract,
        unless_said(given[0], key),
        unless_said(given[1], contract.result.value),
    )


def _node_name(scope: Scope, shown: str, name: str | None, contract: Contract) -> str:
    """The given name, else the function's; a lambda gets a generated one."""
    if name is not None:
        return check_name(name)
    if shown != _LAMBDA:
        return check_name(shown)
    kind = "PROCESSOR" if contract.may_change_key else "PROCESSVALUES"
    return scope.graph.new_name(f"KSTREAM-{kind}-")


def _claim_stores(
    scope: Scope, contract: Contract, node: str, named: Mapping[str, str], line: str
) -> None:
    """Refuse to share a store by accident; a name in `stores=` shares it on purpose."""
    for parameter, store in contract.stores.items():
        owner, known = scope.function_stores.setdefault(store.name, (node, store))
        if owner == node:
            continue
        if parameter not in named:
            raise TopologyError(
                f"processor {node} at {line}: store {store.name} belongs to processor {owner} "
                f"already: rename the parameter, or say stores={{{parameter!r}: 'NAME'}} to name "
                "it or to share it"
            )
        if known != store:
            raise TopologyError(
                f"processor {node} at {line}: store {store.name} of processor {owner} has other "
                "types: give one of them another name with stores="
            )
