"""The order in which Java's hash sets and tree sets give back their elements.

`Topology.describe()` of Kafka Streams prints neighbours from tree sets whose sort keys change
while they are filled, in the order of hash maps; printing the same text needs the same orders.
So do the co-partition groups that a member tells Apache Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_CAPACITY = 16
_LOAD = 0.75


def string_hash(text: str) -> int:
    """`String.hashCode`, as an unsigned 32 bit number."""
    code = 0
    data = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(data[::2], data[1::2], strict=True):
        code = (31 * code + (high << 8) + low) & 0xFFFFFFFF
    return code


def hash_order(texts: Iterable[str], *, copied: bool = False) -> list[str]:
    """The iteration order of a `HashSet` filled with these texts one after the other.

    `copied` is a set made by the constructor that takes a collection, which sizes the table once.
    """
    codes = {text: string_hash(text) for text in texts}
    return _table_order(codes, len(codes) if copied else 0)


def hash_order_of_sets(sets: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The iteration order of a `HashSet` made of a collection of sets, where some may be equal."""
    first = {frozenset(each): each for each in reversed(sets)}
    distinct = dict.fromkeys(first[frozenset(each)] for each in sets)
    codes = {each: sum(map(string_hash, each)) & 0xFFFFFFFF for each in distinct}
    return _table_order(codes, len(sets))


def _table_order(codes: Mapping[T, int], copied: int) -> list[T]:
    """The keys by bucket of a table that is made for so many, and grows as it must."""
    capacity = _CAPACITY
    while capacity < int(copied / _LOAD) + 1:
        capacity *= 2
    while len(codes) > capacity * _LOAD:
        capacity *= 2
    buckets: dict[int, list[T]] = {}
    for key, code in codes.items():
        buckets.setdefault((code ^ code >> 16) & (capacity - 1), []).append(key)
    return [key for bucket in sorted(buckets) for key in buckets[bucket]]


@dataclass(slots=True, eq=False)
class _Leaf(Generic[T]):
    value: T
    parent: _Leaf[T] | None
    left: _Leaf[T] | None = None
    right: _Leaf[T] | None = None
    is_red: bool = False


class TreeSet(Generic[T]):
    """`java.util.TreeSet`: a red-black tree, whose shape matters when sort keys change later."""

    def __init__(self, compare: Callable[[T, T], int]) -> None:
        self._compare = compare
        self._root: _Leaf[T] | None = None

    def add(self, value: T) -> None:
        """Insert unless an element compares equal on the way down."""
        parent: _Leaf[T] | None = None
        order = 0
        here = self._root
        while here is not None:
            parent = here
            order = self._compare(value, here.value)
            if order == 0:
                return
            here = here.left if order < 0 else here.right
        leaf = _Leaf(value, parent)
        if parent is None:
            self._root = leaf
        elif order < 0:
            parent.left = leaf
        else:
            parent.right = leaf
        self._balance(leaf)

    def __iter__(self) -> Iterator[T]:
        stack: list[_Leaf[T]] = []
        here = self._root
        while stack or here is not None:
            while here is not None:
                stack.append(here)
                here = here.left
            here = stack.pop()
            yield here.value
            here = here.right

    def _balance(self, leaf: _Leaf[T]) -> None:
        leaf.is_red = True
        while leaf.parent is not None and leaf.parent.is_red:
            parent = leaf.parent
            grand = parent.parent
            assert grand is not None, "the root of a red-black tree is black"
            is_left = parent is grand.left
            uncle = grand.right if is_left else grand.left
            if uncle is not None and uncle.is_red:
                parent.is_red = uncle.is_red = False
                grand.is_red = True
                leaf = grand
                continue
            if leaf is (parent.right if is_left else parent.left):
                self._rotate(parent, left=is_left)
                leaf, parent = parent, leaf
            parent.is_red = False
            grand.is_red = True
            self._rotate(grand, left=not is_left)
        assert self._root is not None, "a leaf was just inserted"
        self._root.is_red = False

    def _rotate(self, top: _Leaf[T], *, left: bool) -> None:
        rising = top.right if left else top.left
        assert rising is not None, "a rotation needs a child to lift"
        inner = rising.left if left else rising.right
        if left:
            top.right, rising.left = inner, top
        else:
            top.left, rising.right = inner, top
        if inner is not None:
            inner.parent = top
        rising.parent = top.parent
        if top.parent is None:
            self._root = rising
        elif top.parent.left is top:
            top.parent.left = rising
        else:
            top.parent.right = rising
        top.parent = rising
