from collections.abc import Mapping, Sequence

FIXED: int
SHORT_TEXT: int
LONG_BYTES: int
COMPACT_BYTES: int
ARRAY: int
COMPACT_ARRAY: int
ENTITY: int
TAGS: int
UNLIMITED: int
COMPILED: bool

class Step:
    op: int
    size: int
    nullable: bool
    name: str
    shape: Shape | None
    tags: Mapping[int, Shape] | None
    def __init__(
        self,
        op: int,
        name: str,
        size: int = 0,
        nullable: bool = False,
        shape: Shape | None = None,
        tags: Mapping[int, Shape] | None = None,
    ) -> None: ...

class Shape:
    steps: Sequence[Step]
    size: int
    def __init__(self, steps: list[Step]) -> None: ...

def walk(shape: Shape, buffer: bytes | bytearray | memoryview, position: int) -> int: ...
def checked(
    shape: Shape, buffer: bytes | bytearray | memoryview, position: int, items_max: int = ...
) -> bytes | bytearray | memoryview: ...
def encode_uvarint(value: int) -> bytes: ...
