from collections.abc import Callable
from typing import Any

from streamkit.topology.operators.node import Node, ProcessorContext

def is_compiled() -> bool: ...

class FunctionNode(Node):
    def __init__(
        self,
        name: str,
        bind: Callable[
            [FunctionNode, ProcessorContext],
            tuple[Callable[..., Any], tuple[Any, ...], Callable[[], object] | None],
        ],
        record_type: Callable[..., Any],
        takes_record: bool,
        output: int,
        makes_records: bool,
    ) -> None: ...
