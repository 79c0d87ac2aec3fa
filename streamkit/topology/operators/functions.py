"""The node of a user's function or processor: called with the value, or the record.

Compiled when there is a C compiler; the same file runs interpreted.
"""

# The compiler needs C types where mypy sees ints; `functions.pyi` has the types for users.
from __future__ import annotations

import cython

from streamkit.topology.operators.given import checked_time
from streamkit.topology.operators.node import Node, ProcessorContext


def is_compiled() -> bool:
    """Whether this module runs as C."""
    return bool(cython.compiled)


@cython.cclass
class FunctionNode(Node):
    """Calls a function with the value, or the record, and what it asked for.

    `bind(node, context)` gives, once, the function to call, the arguments after the first, and
    what to call at the end, or None. `output` says what the function's result is: 0 nothing, 1 a
    value or None for no output, 2 an iterator of values; with `makes_records` values are records
    with key and time of their own.
    """

    bind: object
    record_type: object
    takes_record: cython.bint
    output: cython.int
    makes_records: cython.bint
    function: object
    arguments: tuple
    release: object
    count: cython.int

    def __init__(self, name, bind, record_type, takes_record, output, makes_records):
        Node.__init__(self, name)
        self.bind = bind
        self.record_type = record_type
        self.takes_record = takes_record
        self.output = output
        self.makes_records = makes_records
        self.function = None
        self.arguments = ()
        self.release = None
        self.count = 0

    def init(self, context):
        """Look up stores and the rest."""
        Node.init(self, context)
        self.function, self.arguments, self.release = self.bind(self, context)
        self.count = len(self.arguments)

    def close(self):
        """Forget what was bound."""
        release, self.release = self.release, None
        self.function = None
        self.arguments = ()
        if release is not None:
            release()

    @cython.ccall
    def process(self, key, value, timestamp: cython.longlong, headers):
        """Call the function and hand on what it gives."""
        context: ProcessorContext = self.context
        before: cython.longlong = context.timestamp
        context.timestamp = timestamp
        subject = value
        if self.takes_record:
            subject = self.record_type(key, value, timestamp, headers)
        if self.count == 0:
            result = self.function(subject)
        elif self.count == 1:
            result = self.function(subject, self.arguments[0])
        else:
            result = self.function(subject, *self.arguments)
        if self.output == 1 and result is not None:
            self.emit(key, result, timestamp, headers)
        elif self.output == 2 and result is not None:
            for one in result:
                self.emit(key, one, timestamp, headers)
        context.timestamp = before

    @cython.cfunc
    def emit(self, key, result, timestamp: cython.longlong, headers):
        if self.makes_records:
            given = result.timestamp
            if type(given) is not int or given < 0:
                given = checked_time(self.name, result)
            self.forward(result.key, result.value, given, result.headers)
        else:
            self.forward(key, result, timestamp, headers)
