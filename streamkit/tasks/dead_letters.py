"""A failed record as the dead-letter topic gets it: its bytes, and headers that say why.

The headers are those of KIP-1034, behind the record's own.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from streamkit.common.compiled import PACKAGE
from streamkit.common.errors import DeserializationError, ProductionError
from streamkit.common.model import Headers
from streamkit.topology.failures import Failure

PREFIX = "__streams.errors."


def headers_of(failure: Failure) -> Headers:
    """The record's headers and the six of the failure."""
    error = cause_of(failure.error)
    kind = type(error)
    found = {
        "exception": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "message": str(error),
        "stacktrace": "".join(traceback.format_exception(error)),
        "topic": failure.topic or None,
        "partition": str(failure.partition),
        "offset": str(failure.offset),
    }
    why = tuple(
        (PREFIX + name, None if text is None else text.encode("utf-8", "backslashreplace"))
        for name, text in found.items()
    )
    return (*failure.headers, *why)


def cause_of(error: BaseException) -> BaseException:
    """What a serde raised, where it is wrapped; else the error itself."""
    if isinstance(error, DeserializationError | ProductionError) and error.__cause__ is not None:
        return error.__cause__
    return error


def place_of(error: BaseException) -> str:
    """`enrich, app.py:12`: where it was raised, as far as Python code was involved."""
    frames = traceback.extract_tb(cause_of(error).__traceback__)
    if not frames:
        return "unknown place"
    theirs = [frame for frame in frames if not _is_ours(frame)]
    where = (theirs or frames)[-1]
    return f"{where.name}, {where.filename}:{where.lineno}"


def _is_ours(frame: traceback.FrameSummary) -> bool:
    """Whether it is streamkit's; what is compiled tells its module in the function's name."""
    return frame.name.startswith("streamkit.") or PACKAGE in Path(frame.filename).parents
