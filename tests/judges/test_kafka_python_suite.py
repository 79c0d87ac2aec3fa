"""kafka-python's own integration tests, against our broker.

Its source package is fetched through pip, checked against the hashes of requirements.lock, and
kept in the judges' cache; nothing of it lies in this repository. The package has the tests and a
fixture for a broker that runs already, but not the module with which that fixture would start one:
`SERVICE` stands in for it. It also has consumers ask for metadata each second: kafka-python 3.0.12
loses a subscription that is made while its first request for metadata, which names no topics, is on
its way, and by default asks again after five minutes, when the test has long given up.

One test of all may fail the first time, if it passes by itself then; it is shown as a warning, with
the client's log.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from streamkit.testing.broker import Broker
from tests.harness import ROOT
from tests.ports import free_ports

pytestmark = pytest.mark.judge

CACHE = Path(os.environ.get("STREAMKIT_JUDGES") or Path.home() / ".cache" / "streamkit-judges")
KAFKA_VERSION = "4.3"
SUITE_TIMEOUT_S = 300
PASSED_MIN = 54

SECURITY = "security comes later: this broker has one plain listener"
EXTERNAL = "skips itself when the broker was started by somebody else"
EXCLUDED = {
    "test_admin_integration.py::test_create_describe_delete_acls": SECURITY,
    "test_ssl_integration.py::TestSSLConnection::test_ssl_handshake": SECURITY,
    "test_ssl_integration.py::TestSSLConnection::test_legacy_kafka_client_ssl": SECURITY,
}
"""What is not run, with the reason."""

SKIPPED = {
    "test_consumer_integration.py::test_kafka_consumer_offsets_for_time_old": (
        "is for brokers before 0.10.1"
    ),
    **{
        f"test_sasl_integration.py::{name}[{mechanism}]": EXTERNAL
        for name in ("test_admin", "test_produce_and_consume", "test_client")
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    },
}
"""What the suite itself skips here, with the reason."""

SERVICE = """\
from kafka import KafkaConsumer

KafkaConsumer.DEFAULT_CONFIG["metadata_max_age_ms"] = 1000


class ExternalService:
    def __init__(self, host, port):
        self.address = (host, port)


class SpawnedService:
    def __init__(self, *_):
        raise RuntimeError("only a broker that runs already is tested here")
"""


def locked() -> tuple[str, str]:
    """The version of kafka-python in the lock file, and its requirement with the hashes."""
    text = (ROOT / "requirements.lock").read_text()
    found = re.search(r"^kafka-python==(\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", text, re.MULTILINE)
    assert found is not None, "requirements.lock has no kafka-python"
    return found[1], found[0]


@pytest.fixture(scope="module")
def suite() -> Path:
    """The unpacked source package of the locked version."""
    version, requirement = locked()
    home = CACHE / f"kafka-python-{version}"
    if not home.exists():
        fetch(requirement, home)
    # Without it, `test` would be the standard library's package.
    (home / "test" / "__init__.py").touch()
    (home / "test" / "service.py").write_text(SERVICE)
    return home


def fetch(requirement: str, home: Path) -> None:
    """Unpack the source package there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        (work / "requirements.txt").write_text(requirement)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        download += ["--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        download += ["--dest", name, "-r", str(work / "requirements.txt")]
        done = subprocess.run(download, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (archive,) = work.glob("*.tar.gz")
        with tarfile.open(archive) as package:
            package.extractall(work / "unpacked", filter="data")
        (unpacked,) = (work / "unpacked").iterdir()
        shutil.move(unpacked, home)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker as the suite's own fixture makes one: node 0, topics of four partitions."""
    port = free_ports()
    config = {
        "node.id": "0",
        "num.partitions": "4",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "group.min.session.timeout.ms": "1000",
    }
    with Broker(config=config, port=port) as running:
        yield running


def run(
    suite: Path, bootstrap: str, *options: str, tests: Iterable[str] = ("",)
) -> subprocess.CompletedProcess[str]:
    """The suite's pytest in its own root, without this project's plug-in and settings."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "KAFKA_VERSION": KAFKA_VERSION,
        "KAFKA_URI": f"kafka://{bootstrap}",
        "KAFKA_ROOT": str(suite),
    }
    argv = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(suite), "-o", "addopts="]
    argv += ["-o", "log_level=DEBUG", "-p", "no:cacheprovider", "-p", "no:streamkit"]
    return subprocess.run(
        [*argv, *options, *(f"test/integration/{name}" for name in tests)],
        cwd=suite,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SUITE_TIMEOUT_S,
        check=False,
    )


def collected(suite: Path) -> set[str]:
    """The names of all tests of the suite, as in the tables above."""
    done = run(suite, "127.0.0.1:1", "--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"^test/integration/(\S+::\S+)$", done.stdout, re.MULTILINE))


def outcomes(report: Path) -> dict[str, str]:
    """What became of each test: passed, failed, error or skipped."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        _, _, rest = case.attrib["classname"].partition("integration.")
        module, *classes = rest.split(".")
        name = "::".join([f"{module}.py", *classes, case.attrib["name"]])
        bad = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
        found[name] = bad[0] if bad else "passed"
    return found


def bad_of(seen: Mapping[str, str]) -> set[str]:
    """The tests that failed."""
    return {name for name, outcome in seen.items() if outcome in {"failure", "error"}}


def test_every_test_passes_but_for_the_listed_ones(
    suite: Path, broker: Broker, tmp_path: Path
) -> None:
    names = collected(suite)
    unknown = (EXCLUDED.keys() | SKIPPED.keys()) - names
    assert not unknown, f"listed, but not in the suite: {unknown}"
    report = tmp_path / "report.xml"
    without = [f"--deselect=test/integration/{name}" for name in EXCLUDED]
    done = run(suite, broker.bootstrap, f"--junitxml={report}", "--tb=short", *without)
    seen = outcomes(report)
    assert seen.keys() == names - EXCLUDED.keys()
    bad = bad_of(seen)
    said = f"{sorted(bad)}\n{done.stdout[-20_000:]}"
    if len(bad) == 1:
        done = run(suite, broker.bootstrap, f"--junitxml={report}", "--tb=short", tests=bad)
        bad = bad_of(outcomes(report))
        said += done.stdout[-20_000:]
        warnings.warn(f"failed the first time: {said}", stacklevel=1)
    assert not bad, said
    assert {name for name, outcome in seen.items() if outcome == "skipped"} == SKIPPED.keys()
    assert len(seen) - len(SKIPPED) >= PASSED_MIN
    assert done.returncode == 0, done.stdout[-20_000:]
