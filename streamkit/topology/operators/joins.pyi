from collections.abc import Callable
from enum import Enum
from typing import Any

from streamkit.topology.operators.node import Node, ProcessorContext, StoreNode

Open = Callable[[ProcessorContext], Callable[..., Any]]

def is_compiled() -> bool: ...

class StreamTableJoinNode(Node):
    def __init__(
        self,
        name: str,
        open_rows: Open,
        joiner: Callable[..., Any],
        keeps_left: bool,
        selector: Callable[[Any, Any], Any] | None = None,
        is_versioned: bool = False,
        buffer_name: str | None = None,
        *,
        with_key: bool = True,
    ) -> None: ...

class Side(Enum):
    INNER = "inner"
    LEFT = "left"
    RIGHT = "right"
    OUTER = "outer"

class TableJoinNode(Node):
    def __init__(
        self,
        name: str,
        side: Side,
        open_rows: Open,
        joiner: Callable[[Any, Any], Any],
        sends_old: bool,
        has_versions: bool = False,
    ) -> None: ...

class MergeTableNode(StoreNode): ...
