"""Serdes: user types to bytes and back.

`serde_for(type)` gives the serde of a type; the instances here are for the types that Python's
own do not name (`integer` is 32 bit, `long` 64). `avro`, `json_schema` and `protobuf` keep their
schemas in a registry. Null is null bytes and never reaches a serde.
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
    void,
)
from streamkit.serdes.json import json
from streamkit.serdes.lists import list_of
from streamkit.serdes.lookup import as_serde, model, serde_for
from streamkit.serdes.registry.avro import avro
from streamkit.serdes.registry.client import SchemaRegistry
from streamkit.serdes.registry.json_schema import json_schema
from streamkit.serdes.registry.protobuf import protobuf
from streamkit.serdes.serde import FunctionSerde, Serde, from_functions
from streamkit.serdes.windowed import session_windowed, time_windowed

__all__ = [
    "FunctionSerde",
    "SchemaRegistry",
    "Serde",
    "as_serde",
    "avro",
    "boolean",
    "double",
    "float32",
    "from_functions",
    "integer",
    "json",
    "json_schema",
    "list_of",
    "long",
    "model",
    "protobuf",
    "raw",
    "serde_for",
    "session_windowed",
    "short",
    "string",
    "time_windowed",
    "uuid",
    "void",
]
