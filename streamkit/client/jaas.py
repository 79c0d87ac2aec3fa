"""User name and password out of Java's `sasl.jaas.config`, which users copy over; pure.

The text is `MODULE required username="..." password="...";`: options are quoted, and a
backslash escapes the next character.
"""

from __future__ import annotations

import re
from typing import Final

_MODULE: Final = re.compile(
    r"\s*(?P<module>[\w.$]+)\s+(required|requisite|sufficient|optional)\s+(?P<options>.*);\s*",
    re.DOTALL,
)
_OPTION: Final = re.compile(
    r"""\s*(?P<name>[\w.]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s";]+))""",
    re.DOTALL,
)
_MODULES: Final = ("PlainLoginModule", "ScramLoginModule")


def credentials_of(text: str) -> tuple[str, str]:
    """User name and password. Raises ValueError without showing the password."""
    found = _MODULE.fullmatch(text)
    if found is None:
        raise ValueError(
            'sasl.jaas.config must read: MODULE required username="..." password="...";'
        )
    module = found["module"]
    if not module.endswith(_MODULES):
        raise ValueError(f"sasl.jaas.config: {module} is not PlainLoginModule or ScramLoginModule")
    options = _options(found["options"])
    missing = [name for name in ("username", "password") if name not in options]
    if missing:
        raise ValueError(f"sasl.jaas.config lacks {' and '.join(missing)}")
    return options["username"], options["password"]


def _options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    position = 0
    while text[position:].strip():
        found = _OPTION.match(text, position)
        if found is None:
            raise ValueError('sasl.jaas.config: options must read name=value or name="value"')
        quoted = found["quoted"]
        options[found["name"]] = (
            found["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        )
        position = found.end()
    return options
