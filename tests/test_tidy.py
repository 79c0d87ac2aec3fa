"""The law in code: who imports whom, pure modules, seams, lengths, docstrings, dead files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "streamkit").rglob("*.py"))

ALL = {
    "common", "records", "serdes", "protocol", "net", "client", "rebalance", "state", "topology",
    "tasks", "broker",
}  # fmt: skip
MAY_IMPORT = {
    "common": set(),
    "records": {"common"},
    "serdes": {"common"},
    "protocol": {"common"},
    "net": {"common", "protocol"},
    "client": {"common", "records", "protocol", "net"},
    "rebalance": {"common", "protocol"},
    "state": {"common", "serdes"},
    "topology": {"common", "serdes", "state"},
    "tasks": {"common", "records", "serdes", "state", "topology", "rebalance", "client"},
    "broker": {"common", "records", "protocol", "net", "rebalance"},
    "app": {"common", "serdes", "state", "topology", "tasks", "client"},
    "testing": ALL | {"app"},
    "cli": ALL | {"app"},
}
"""The table of docs/architecture.md; a package may always import itself."""

LATE_IMPORTS = {("app", "cli"), ("app", "testing")}
"""Allowed late only: `App.main` is the command line, `App.test` the test driver."""

TOPOLOGY_SEES_OF_STATE = {"streamkit.state.interfaces", "streamkit.state.builders"}
BROKER_SEES_OF_REBALANCE = {
    f"streamkit.rebalance.{name}"
    for name in (
        "rules",
        "assignor",
        "updates",
        "balance",
        "costs",
        "extensions",
        "report",
        "warmup",
    )
}

PURE = (
    "records/", "serdes/", "protocol/", "rebalance/", "topology/",
    "common/model.py", "common/errors.py", "common/partitioner.py",
    "broker/kraft/raft.py", "broker/kraft/raft_types.py", "broker/kraft/voters.py",
    "broker/kraft/image.py", "broker/kraft/controller/", "broker/kraft/config_def.py",
    "broker/kraft/topic_config.py", "broker/kraft/group_config.py",
    "broker/fetch_sessions.py", "broker/coordinators/group/streams/",
    "broker/coordinators/group/consumer/",
    "broker/coordinators/transaction/model.py", "broker/coordinators/transaction/rules.py",
    "broker/coordinators/transaction/queries.py", "broker/coordinators/transaction/shard.py",
)  # fmt: skip
"""Modules that do no I/O, read no clock, draw no chance and never await."""

ADAPTERS = {
    "common/system.py", "common/files.py", "common/processes.py", "testing/simulation.py",
}  # fmt: skip
"""The adapters of the seams, and the simulation's."""

SEAM_EXCEPTIONS: dict[str, set[str]] = {
    "cli/": {"signal", "sys"},
}
FORBIDDEN_OUTSIDE_ADAPTERS = {
    "uvloop", "threading", "time", "random", "socket", "subprocess", "multiprocessing", "secrets",
}  # fmt: skip
IMPURE_MODULES = FORBIDDEN_OUTSIDE_ADAPTERS | {"asyncio", "os", "io", "signal", "shutil"}

LINES_PER_FILE = 800
LINES_PER_FUNCTION = 70


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def package_of(path: Path) -> str:
    relative = path.relative_to(ROOT / "streamkit")
    return relative.parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "streamkit"))


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module by its full name, and whether only a function or a type needs it."""
    late = {
        id(inner)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in late
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield (inner if module_exists(inner) else module), id(node) in late


def is_for_types(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`."""
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def module_exists(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def all_imports() -> Iterator[tuple[Path, str, bool]]:
    for path in SOURCES:
        for module, late in imports_of(path):
            yield path, module, late


def test_imports_follow_the_table() -> None:
    wrong = []
    for path, module, late in all_imports():
        package = package_of(path)
        parts = module.split(".")
        if parts[0] != "streamkit" or len(parts) == 1 or package in {"__init__", "__main__"}:
            continue
        if parts[1] == package or parts[1] in MAY_IMPORT[package]:
            continue
        if late and (package, parts[1]) in LATE_IMPORTS:
            continue
        wrong.append(f"{name_of(path)} imports {module}")
    assert wrong == []


def test_topology_sees_only_interfaces_and_builders_of_state() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path, module, _ in all_imports()
        if package_of(path) == "topology"
        and module.startswith("streamkit.state")
        and module not in TOPOLOGY_SEES_OF_STATE
    ]
    assert wrong == []


def test_broker_sees_only_rules_of_rebalance() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path, module, _ in all_imports()
        if package_of(path) == "broker"
        and module.startswith("streamkit.rebalance")
        and module not in BROKER_SEES_OF_REBALANCE
    ]
    assert wrong == []


def test_pure_modules_import_nothing_that_acts() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path, module, _ in all_imports()
        if name_of(path).startswith(PURE) and module.split(".")[0] in IMPURE_MODULES
    ]
    assert wrong == []


def test_pure_modules_never_await() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        if name_of(path).startswith(PURE)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert wrong == []


def test_only_adapters_touch_the_world() -> None:
    wrong = []
    for path, module, _ in all_imports():
        name = name_of(path)
        allowed = {
            m for prefix, ms in SEAM_EXCEPTIONS.items() if name.startswith(prefix) for m in ms
        }
        first = module.split(".")[0]
        if first in FORBIDDEN_OUTSIDE_ADAPTERS - allowed and name not in ADAPTERS:
            wrong.append(f"{name} imports {module}")
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"open", "uuid4", "uuid1"}
                and name_of(path) not in ADAPTERS
            ):
                wrong.append(f"{name_of(path)}:{node.lineno} calls {node.func.id}")
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_has_docstring_and_length(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert ast.get_docstring(tree_of(path)), "a module's docstring names its idea"
    assert lines <= LINES_PER_FILE, f"{lines} lines: split the module"


def test_functions_are_short() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LINES_PER_FUNCTION
    ]
    assert wrong == []


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "misc"}
    assert [name_of(path) for path in SOURCES if path.stem in vague] == []


def test_no_file_is_dead() -> None:
    used = {module for _, module, _ in all_imports()}
    text = "\n".join(path.read_text() for path in SOURCES)
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    dead = []
    for path in SOURCES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name in {"__init__.py", "__main__.py"} or module in used or module in text:
            continue
        if package_of(path) in {"testing", "cli"} and (
            module in tests or package_of(path) == "cli"
        ):
            continue
        dead.append(name_of(path))
    assert dead == []
