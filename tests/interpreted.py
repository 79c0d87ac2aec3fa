"""The hot modules as plain Python, beside the compiled ones that the installation made."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType

from streamkit.common.compiled import PACKAGE


@cache
def interpreted(name: str) -> ModuleType:
    """A module of streamkit (`records.codec`) by its source, so that no extension is taken."""
    path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"interpreted.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def interpreted_codec() -> ModuleType:
    """The codec, whose batches are interpreted, too."""
    codec = interpreted("records.codec")
    vars(codec)["DecodedBatch"] = interpreted("records.batch").DecodedBatch
    return codec
