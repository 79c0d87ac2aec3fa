"""kio's foundations, imported without the test strategies it offers when Hypothesis is there.

kio imports Hypothesis where it is installed, which takes over a second and 30 MB and serves only
kio's own tests. Every module of streamkit that needs kio imports this one first.
"""

from __future__ import annotations

import sys


def _import_foundations() -> None:
    hidden = "hypothesis" not in sys.modules
    if hidden:
        sys.modules["hypothesis"] = None  # type: ignore[assignment]  # None makes its import fail
    try:
        import kio.schema.types
        import kio.static.primitive  # noqa: F401
    finally:
        if hidden:
            del sys.modules["hypothesis"]


_import_foundations()
