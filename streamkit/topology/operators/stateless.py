"""The stateless operators of streams: filter, map, flat-map, peek, branch.

Compiled when there is a C compiler; the same file runs interpreted.
"""

# The compiler needs C types where mypy sees ints; `stateless.pyi` has the types for users.
from __future__ import annotations

import cython

from streamkit.topology.operators.node import Node, ProcessorContext


def is_compiled() -> bool:
    """Whether this module runs as C."""
    return bool(cython.compiled)


@cython.cclass
class FilterNode(Node):
    """Hands on the records whose `predicate(key, value)` is `keep`."""

    predicate: object
    keep: cython.bint

    def __init__(self, name, predicate, keep=True):
        Node.__init__(self, name)
        self.predicate = predicate
        self.keep = keep

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Test and hand on."""
        passes: cython.bint = bool(self.predicate(key, value))
        if passes == self.keep:
            self.forward(key, value, timestamp, headers)


@cython.cclass
class MapNode(Node):
    """`mapper(key, value)` gives the new pair."""

    mapper: object

    def __init__(self, name, mapper):
        Node.__init__(self, name)
        self.mapper = mapper

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Map and hand on."""
        new_key, new_value = self.mapper(key, value)
        self.forward(new_key, new_value, timestamp, headers)


@cython.cclass
class MapValuesNode(Node):
    """`mapper(value)`, or with the key before it, gives the new value."""

    mapper: object
    with_key: cython.bint

    def __init__(self, name, mapper, with_key=False):
        Node.__init__(self, name)
        self.mapper = mapper
        self.with_key = with_key

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Map and hand on."""
        new = self.mapper(key, value) if self.with_key else self.mapper(value)
        self.forward(key, new, timestamp, headers)


@cython.cclass
class SelectKeyNode(Node):
    """`selector(key, value)` gives the new key."""

    selector: object

    def __init__(self, name, selector):
        Node.__init__(self, name)
        self.selector = selector

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Re-key and hand on."""
        self.forward(self.selector(key, value), value, timestamp, headers)


@cython.cclass
class FlatMapNode(Node):
    """`mapper(key, value)` gives any number of pairs."""

    mapper: object

    def __init__(self, name, mapper):
        Node.__init__(self, name)
        self.mapper = mapper

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Hand on each pair."""
        for new_key, new_value in self.mapper(key, value):
            self.forward(new_key, new_value, timestamp, headers)


@cython.cclass
class FlatMapValuesNode(Node):
    """`mapper(value)`, or with the key before it, gives any number of values."""

    mapper: object
    with_key: cython.bint

    def __init__(self, name, mapper, with_key=False):
        Node.__init__(self, name)
        self.mapper = mapper
        self.with_key = with_key

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Hand on each value under the same key."""
        child: Node = self.only
        context: ProcessorContext = self.context
        news = self.mapper(key, value) if self.with_key else self.mapper(value)
        if child is None:
            for new in news:
                self.forward(key, new, timestamp, headers)
        elif type(news) is list:
            words: list = news
            context.current = child
            for new in words:
                child.process(key, new, timestamp, headers)
        else:
            for new in news:
                context.current = child
                child.process(key, new, timestamp, headers)
                context.current = self


@cython.cclass
class PeekNode(Node):
    """Calls `action(key, value)` and hands the record on; the end of the line for `foreach`."""

    action: object

    def __init__(self, name, action):
        Node.__init__(self, name)
        self.action = action

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Call and hand on."""
        self.action(key, value)
        self.forward(key, value, timestamp, headers)


@cython.cclass
class BranchNode(Node):
    """Hands a record to the child of the first predicate that holds, else to the default.

    `predicates` has one function for each branch in the order of the children, None for the
    default branch.
    """

    predicates: tuple

    def __init__(self, name, predicates):
        Node.__init__(self, name)
        self.predicates = tuple(predicates)

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Choose a child."""
        child: Node
        i: cython.Py_ssize_t
        for i in range(len(self.predicates)):
            predicate = self.predicates[i]
            if predicate is None or predicate(key, value):
                child = self.children[i]
                self.context.current = child
                child.process(key, value, timestamp, headers)
                return
