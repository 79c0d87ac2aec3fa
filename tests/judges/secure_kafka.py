"""An Apache Kafka that asks for TLS and passwords: certificates, listeners, users.

    with SecureKafka(directory) as kafka:
        dial(kafka.sasl_ssl, truststore=kafka.ca, username=USERNAME, password=PASSWORD)

Certificates come from `openssl`. The broker's is for the name `localhost` only, so 127.0.0.1 is
a mismatch. The user has the same password in PLAIN and in both SCRAM mechanisms.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.ports import free_ports

KAFKA: Final = Path(__file__).with_name("kafka")
USERNAME: Final = "alice, the = user"
PASSWORD: Final = "wonderland-77"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
TOOL_TIMEOUT_S: Final = 120
PORTS_NEEDED: Final = 5


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: `certificate` is what its clients trust."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """The PEM file to trust."""
        return self.directory / "ca.pem"

    @classmethod
    def create(cls, directory: Path) -> Authority:
        """Make a new authority in a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        authority = cls(directory)
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"),
            *("-subj", "/CN=streamkit test authority"),
            *("-keyout", str(directory / "ca.key"), "-out", str(authority.certificate)),
        )
        return authority

    def issue(self, host: str) -> Path:
        """A PEM file with a private key and a certificate for a host name."""
        key, request, chain = (self.directory / f"{host}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.directory / f"{host}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        _openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        _openssl(
            *("x509", "-req", "-days", "3650", "-in", str(request), "-out", str(chain)),
            *("-CA", str(self.certificate), "-CAkey", str(self.directory / "ca.key")),
            *("-CAcreateserial", "-extfile", str(extensions)),
        )
        store = self.directory / f"{host}.pem"
        store.write_text(key.read_text() + chain.read_text() + self.certificate.read_text())
        return store


class SecureKafka:
    """One broker with listeners for PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL."""

    def __init__(self, directory: Path, config: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.authority = Authority.create(directory / "tls")
        self._store = self.authority.issue("localhost")
        self._config = config or {}
        self._port = free_ports(PORTS_NEEDED)

    @property
    def ca(self) -> str:
        """The PEM file that clients have to trust."""
        return str(self.authority.certificate)

    @property
    def plaintext(self) -> str:
        """`HOST:PORT` of the open listener."""
        return f"127.0.0.1:{self._port}"

    @property
    def ssl(self) -> str:
        """`HOST:PORT` of the listener with TLS and no password."""
        return f"localhost:{self._port + 2}"

    @property
    def sasl_plaintext(self) -> str:
        """`HOST:PORT` of the listener with a password and no TLS."""
        return f"127.0.0.1:{self._port + 3}"

    @property
    def sasl_ssl(self) -> str:
        """`HOST:PORT` of the listener with TLS and a password."""
        return f"localhost:{self._port + 4}"

    def __enter__(self) -> Self:
        settings = {**self._listeners(), **self._security(), **self._config}
        pairs = [f"{key}={value}" for key, value in settings.items()]
        self.tool("start", str(self.directory / "kafka"), str(self._port), *pairs)
        self._add_scram_user()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.tool("stop", str(self.directory / "kafka"))

    def tool(self, *arguments: str) -> str:
        """Run one of Kafka's tools; its output."""
        done = subprocess.run(
            [str(KAFKA), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
            env={"KAFKA_HEAP": "512m", **os.environ},
        )
        assert done.returncode == 0, f"kafka {arguments}: {done.stdout}"
        return done.stdout

    def _listeners(self) -> dict[str, str]:
        port = self._port
        clients = (
            f"PLAINTEXT://{{0}}:{port},SSL://{{1}}:{port + 2}"
            f",SASL_PLAINTEXT://{{0}}:{port + 3},SASL_SSL://{{1}}:{port + 4}"
        )
        listen = clients.format("127.0.0.1", "127.0.0.1")
        return {
            "listeners": f"{listen},CONTROLLER://127.0.0.1:{port + 1}",
            "advertised.listeners": clients.format("127.0.0.1", "localhost"),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT"
            ",SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
        }

    def _security(self) -> dict[str, str]:
        modules = "org.apache.kafka.common.security"
        settings = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca,
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        }
        for listener in ("sasl_ssl", "sasl_plaintext"):
            prefix = f"listener.name.{listener}"
            settings[f"{prefix}.plain.sasl.jaas.config"] = (
                f'{modules}.plain.PlainLoginModule required "user_{USERNAME}"="{PASSWORD}";'
            )
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                settings[f"{prefix}.{mechanism}.sasl.jaas.config"] = (
                    f"{modules}.scram.ScramLoginModule required;"
                )
        return settings

    def _add_scram_user(self) -> None:
        for mechanism in MECHANISMS[1:]:
            self.tool(
                *("configs", "--bootstrap-server", self.plaintext, "--alter"),
                *("--entity-type", "users", "--entity-name", USERNAME),
                *("--add-config", f"{mechanism}=[iterations=4096,password={PASSWORD}]"),
            )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
