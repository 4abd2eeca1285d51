"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alignai._transport.api_client import APIClient
from alignai.spool import Spool
from tests.support.clients import PROJECT
from tests.support.memory import in_memory
from tests.support.servers.connect import ConnectServer
from tests.support.servers.raw import RawServer, Script
from tests.support.uploads import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has a proxy in its environment reaches the tests' own servers without it."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"])))


@pytest.fixture
def make_client() -> Iterator[Callable[[str], APIClient]]:
    """Return a function that makes API clients: `make_client(url)`. All are closed at the end of the test."""
    with ExitStack() as clients:

        def make(url: str) -> APIClient:
            client = APIClient(url, KEY)
            clients.callback(client.close)
            return client

        yield make


@pytest.fixture
def connect_server() -> Iterator[ConnectServer]:
    """Yield a running Connect server that accepts everything. Set its `respond` to change that."""
    with ConnectServer() as server:
        yield server


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Return a function that starts socket servers: `raw_server(script)`. All are stopped at the end of the test."""
    with ExitStack() as servers:

        def start(script: Script, **options: object) -> RawServer:
            return servers.enter_context(RawServer(script, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl") or pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    key, both = folder / "key.pem", folder / "both.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(both)]
    subprocess.run([openssl, *made, *names, *usage], check=True, capture_output=True)
    both.write_bytes(both.read_bytes() + key.read_bytes())
    return both


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.fixture
def spool_path(tmp_path: Path) -> Iterator[Path]:
    """Return a path for the spool of a test. The spool must be sound in the end."""
    path = tmp_path / "spool.db"
    yield path
    if path.exists():
        spool = Spool(path, project_id=PROJECT)
        found = spool.check()
        spool.close()
        assert found == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path for a spool."""
    return tmp_path / "spool.db"


@pytest.fixture
def path_in_memory() -> Iterator[Path]:
    """Return a path for a spool whose syncs cost nothing, for tests of sizes that append much."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        yield Path(folder) / "spool.db"


@pytest.fixture
def open_spool(path: Path) -> Iterator[Callable[..., Spool]]:
    """Return a function that opens the spool at `path`. All are closed at the end of the test."""
    with ExitStack() as spools:

        def opened(**options: object) -> Spool:
            spool = Spool(path, **({"project_id": "project"} | options))  # type: ignore[arg-type]
            spools.callback(spool.close)
            return spool

        yield opened


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    """A new spool."""
    return open_spool()


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Return a function that sets the process's umask. The old one is restored at the end of the test."""
    before = os.umask(0o022)
    try:
        yield os.umask
    finally:
        os.umask(before)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no thread of the SDK start."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("alignai"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
