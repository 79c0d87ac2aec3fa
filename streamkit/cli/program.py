"""PROGRAM: from `path/to/file.py` or `package.module:app` to the `App` in it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from streamkit.app import App
from streamkit.common.errors import StreamkitError, UsageError

_loading: list[str] = []
"""The programs whose import is under way."""

argument: Callable[[Any], Any] = click.argument("program")
"""The PROGRAM argument of a command."""


def load(program: str) -> App:
    """Import the program and find its app.

    Raises UsageError, in one line, when there is no such file or module, it does not import, or
    it holds no app or more than one.
    """
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(context.obj, App):
        return context.obj
    target, _, attribute = program.partition(":")
    module = _import(target)
    if attribute:
        app = getattr(module, attribute, None)
        if not isinstance(app, App):
            raise UsageError(f"{target} has no streamkit.App named {attribute!r}")
        return app
    return _only_app(module, program)


def refuse_while_loading() -> None:
    """Raises UsageError when a program that a command imports would start another command."""
    if _loading:
        raise UsageError('put app.main() under `if __name__ == "__main__":`')


def _import(target: str) -> ModuleType:
    is_file = target.endswith(".py") or "/" in target
    if is_file and not Path(target).is_file():
        raise UsageError(f"there is no program file {target}")
    _loading.append(target)
    try:
        return _from_file(Path(target)) if is_file else _from_module(target)
    except StreamkitError as error:
        raise UsageError(f"{target}: {error}{_where(error, target)}") from error
    except Exception as error:  # the program is foreign code: whatever it raises is its answer
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"cannot import {target}: {reason}{_where(error, target)}") from error
    finally:
        _loading.pop()


def _from_file(path: Path) -> ModuleType:
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Siblings of the program import as they do for `python path/to/file.py`.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_module(name: str) -> ModuleType:
    # A module beside the user imports as it does for `python -m`.
    if "" not in sys.path:
        sys.path.insert(0, "")
    return importlib.import_module(name)


def _where(error: BaseException, target: str) -> str:
    """The deepest line of the program itself in the error's traceback."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return ""
    program = Path(target).resolve()
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == program
    ]
    return f" (line {own[-1].lineno})" if own else ""


def _only_app(module: ModuleType, program: str) -> App:
    apps = {id(value): value for value in vars(module).values() if isinstance(value, App)}
    if not apps:
        raise UsageError(f"{program} defines no streamkit.App at its top level")
    if len(apps) > 1:
        raise UsageError(f"{program} defines {len(apps)} apps; name one, as in {program}:app")
    return next(iter(apps.values()))
