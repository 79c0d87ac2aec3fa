from collections.abc import Callable, Sequence
from typing import Any

from streamkit.topology.operators.node import Node

def is_compiled() -> bool: ...

class FilterNode(Node):
    def __init__(
        self, name: str, predicate: Callable[[Any, Any], object], keep: bool = True
    ) -> None: ...

class MapNode(Node):
    def __init__(self, name: str, mapper: Callable[[Any, Any], Any]) -> None: ...

class MapValuesNode(Node):
    def __init__(self, name: str, mapper: Callable[..., Any], with_key: bool = False) -> None: ...

class SelectKeyNode(Node):
    def __init__(self, name: str, selector: Callable[[Any, Any], Any]) -> None: ...

class FlatMapNode(Node):
    def __init__(self, name: str, mapper: Callable[[Any, Any], Any]) -> None: ...

class FlatMapValuesNode(Node):
    def __init__(self, name: str, mapper: Callable[..., Any], with_key: bool = False) -> None: ...

class PeekNode(Node):
    def __init__(self, name: str, action: Callable[[Any, Any], object]) -> None: ...

class BranchNode(Node):
    def __init__(
        self, name: str, predicates: Sequence[Callable[[Any, Any], object] | None]
    ) -> None: ...
