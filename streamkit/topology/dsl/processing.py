"""`process()` and `@app.processor`: the same node, from a function or a class of processors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.fitting import may_take, type_name
from streamkit.topology.dsl.function import Contract, contract_of
from streamkit.topology.dsl.processor import Stores, Supplier, is_supplier, supplier_of
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import Side, annotated, said, unless_said
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.asynchronous import CONCURRENCY
from streamkit.topology.plan import NodeKind, NodeSpec

_LAMBDA = "<lambda>"


@dataclass(frozen=True, slots=True)
class Processed:
    """The node of a processor, and what comes out of it."""

    node: GraphNode
    may_change_key: bool
    key: Side
    value: Side


def process_node(
    scope: Scope,
    function: Callable[..., Any],
    here: tuple[Side, Side],
    given: tuple[object, object],
    name: str | None,
    stores: Stores,
    concurrency: int = CONCURRENCY,
) -> Processed:
    """The logical node of a function; `here` is what comes, `given` are `key=` and `value=`.

    Raises TopologyError when the signature cannot be honoured or its types do not fit.
    """
    if is_supplier(function):
        return _class_node(scope, function, here, given, name, stores)
    line = call_site()
    shown = str(name or getattr(function, "__name__", type(function).__name__))
    if stores is not None and not isinstance(stores, Mapping):
        raise TopologyError(
            f"processor {shown} at {line}: the stores of a function are its parameters; stores= "
            "names them, as in stores={'seen': 'seen-orders'}"
        )
    # A name may be that of a store which the program knows.
    known = {each: _known(scope, store) for each, store in (stores or {}).items()}
    contract = contract_of(function, f"{shown} at {line}", known, concurrency)
    where = f"processor {shown} at {line}: it takes"
    _refuse_untaken(here[1].declared, contract.value.declared, where)
    _refuse_untaken(here[0].declared, contract.key.declared, f"{where} the key")
    node_name = _node_name(scope, shown, name, contract)
    _claim_stores(scope, contract, node_name, stores or {}, line)
    key = contract.result.key if contract.result.makes_records else here[0]
    return Processed(
        _node(scope, node_name, contract),
        contract.may_change_key,
        unless_said(given[0], key),
        unless_said(given[1], contract.result.value),
    )


def _known(scope: Scope, store: str | StoreBuilder) -> str | StoreBuilder:
    return scope.stores.get(store, store) if isinstance(store, str) else store


def _class_node(
    scope: Scope,
    make: Callable[[], Any],
    here: tuple[Side, Side],
    given: tuple[object, object],
    name: str | None,
    stores: Stores,
) -> Processed:
    made = make.func if isinstance(make, functools.partial) else make
    shown = str(name or getattr(made, "__name__", "processor"))
    where = f"{shown} at {call_site()}"
    supplier = supplier_of(make, stores, where)
    takes, gives = supplier.takes, supplier.gives
    _refuse_untaken(here[0].declared, takes[0], f"processor {where}: it takes keys of type")
    _refuse_untaken(here[1].declared, takes[1], f"processor {where}: it takes values of type")
    kind = "PROCESSVALUES" if supplier.is_fixed_key else "PROCESSOR"
    node_name = scope.graph.new_name(f"KSTREAM-{kind}-") if name is None else check_name(name)
    return Processed(
        _node(scope, node_name, supplier),
        supplier.may_change_key,
        unless_said(given[0], here[0]) if supplier.is_fixed_key else _said_or(given[0], gives[0]),
        _said_or(given[1], gives[1]),
    )


def _said_or(choice: object, annotation: object) -> Side:
    return annotated(annotation) if choice is None else said(choice)


def _refuse_untaken(have: object, want: object, what: str) -> None:
    if not may_take(have, want):
        raise TopologyError(
            f"{what} {type_name(want)}, but {type_name(have)} comes: change one of the types"
        )


def _node(scope: Scope, name: str, processor: Contract | Supplier) -> GraphNode:
    is_async = isinstance(processor, Contract) and processor.is_async

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        spec = NodeSpec(
            name, NodeKind.PROCESSOR, parents, lambda _: processor.make(name), is_async=is_async
        )
        builder.add_node(spec)
        processor.connect(scope, builder, name)

    return GraphNode(name, write)


def _node_name(scope: Scope, shown: str, name: str | None, contract: Contract) -> str:
    """The given name, else the function's; a lambda gets a generated one."""
    if name is not None:
        return check_name(name)
    if shown != _LAMBDA:
        return check_name(shown)
    kind = "PROCESSOR" if contract.may_change_key else "PROCESSVALUES"
    return scope.graph.new_name(f"KSTREAM-{kind}-")


def _claim_stores(
    scope: Scope, contract: Contract, node: str, named: Mapping[str, object], line: str
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
