"""Serdes: user types to bytes and back.

`serde_for(type)` gives the serde of a type; the instances here are for the types that Python's
own do not name (`integer` is 32 bit, `long` 64). Null is null bytes and never reaches a serde.
"""

from streamkit.serdes.builtin import (
    boolean,
    double,
    float32,
    integer,
    long,
    raw,
    short,
    string,
    uuid,
)
from streamkit.serdes.json import json
from streamkit.serdes.lookup import as_serde, model, serde_for
from streamkit.serdes.serde import FunctionSerde, Serde, from_functions
from streamkit.serdes.windowed import session_windowed, time_windowed

__all__ = [
    "FunctionSerde",
    "Serde",
    "as_serde",
    "boolean",
    "double",
    "float32",
    "from_functions",
    "integer",
    "json",
    "long",
    "model",
    "raw",
    "serde_for",
    "session_windowed",
    "short",
    "string",
    "time_windowed",
    "uuid",
]
