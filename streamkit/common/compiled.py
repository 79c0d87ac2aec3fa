"""The compiled modules that know each other's C types: all of them are compiled, or none.

An interpreted one among them would never hear of what a compiled one calls through such a type.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

TOGETHER: Final = (
    "common.direct",
    "common.partitioner",
    "records.batch",
    "records.codec",
    "state.cache",
    "state.expiry",
    "state.overlay",
    "state.window_keys",
    "state.windows",
    "tasks.collector",
    "topology.operators.functions",
    "topology.operators.joins",
    "topology.operators.node",
    "topology.operators.stateless",
    "topology.operators.windowed",
)
PACKAGE: Final = Path(__file__).parent.parent


def check_whole() -> None:
    """Raises ImportError when only some of the modules are compiled."""
    interpreted = [name for name in TOGETHER if not _is_compiled(name)]
    if 0 < len(interpreted) < len(TOGETHER):
        raise ImportError(
            f"streamkit is compiled in part: {', '.join(interpreted)} are not. Install it again "
            f"(the output says why they failed), or delete the compiled files in {PACKAGE}"
        )


def _is_compiled(name: str) -> bool:
    stem = PACKAGE.joinpath(*name.split("."))
    return any(stem.with_name(stem.name + suffix).exists() for suffix in EXTENSION_SUFFIXES)
