"""
Network: acknowledged events arrive in order through any fault, and the key goes to no other server.

A trial is one worker process with a real `AlignAI`, and a socket server that draws faults of `NetworkFaults` at random.
The connection is plain or uses TLS, directly or through a proxy. The resolver may fail at times, the first of two
addresses may be silent, and a middlebox may refuse compressed bodies or kept connections. The worker records and
flushes through phases of faults and phases without a server. Then the faults stop, and the events that the server
stored are compared with those that the worker acknowledged.
"""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai.spool import Spool
from tests.faults.network.delivery import checksum
from tests.faults.network.faults import NetworkFaults
from tests.faults.network.obstacles import SILENT_ADDRESS, Middlebox, silent_port
from tests.faults.network.worker import SCRIPT, RemoteWorker, content, recording
from tests.support.clients import PROJECT
from tests.support.servers.raw import OK, RawServer, answer
from tests.support.uploads import KEY, SOON
from tests.support.waiting import BUSY_TIMEOUT_SECONDS

if TYPE_CHECKING:
    import random

    from tests.faults.network.delivery import Delivery
    from tests.faults.scenario import Run, Trial

FAILING_RESOLVER = """
import random, socket
real, rng = socket.getaddrinfo, random.Random(1)
def resolve(*args, **kwargs):
    if rng.random() < 0.3:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real(*args, **kwargs)
socket.getaddrinfo = resolve
"""
"""A script in which the resolver fails at times, since no test can make the machine's own fail."""


WAYS = ("plain", "plain", "proxy", "resolver", "silent address", *(["tls"] if shutil.which("openssl") else []))


def run(run: Run) -> None:
    """Send through faults until the time is used up."""
    for trial in run.trials():
        with tempfile.TemporaryDirectory() as folder, RawServer(answer(OK)) as elsewhere:
            way = trial.rng.choice(WAYS)
            tls = certificates(folder) if way == "tls" else None
            middlebox = Middlebox.drawn(trial.rng)
            faults = NetworkFaults(trial.seed, elsewhere.url + "/stolen", tls, middlebox)
            with RawServer(faults.serve, reads=False) as server:
                one_trial(run, trial, Path(folder), faults, server, way)
            trial.check("the key goes to no other server", holds=elsewhere.connections == 0)
            run.count(**{way: 1}, faults=sum(faults.met.values()))


def one_trial(run: Run, trial: Trial, folder: Path, faults: NetworkFaults, server: RawServer, way: str) -> None:
    """Run one worker through phases of faults and one without, and compare the events."""
    log, spool_path = folder / "log", folder / "spool.db"
    config = _config(trial.rng, way)
    if faults.middlebox:  # every second request may be refused at first
        config |= {"flush_batch_size": 50, "max_batch_bytes": 1 << 20}
    with contextlib.ExitStack() as stack:
        url, script, env = _way(way, server, folder, stack)
        sink = stack.enter_context(log.open("w"))
        worker = stack.enter_context(recording(url, spool_path, sink, script=script, env=env, **config))
        acknowledged: list[str] = []
        for _ in range(trial.rng.randint(1, 3)):
            acknowledged += faulty_phase(trial, worker, faults, server, first=len(acknowledged) + 1)
        faults.fault_rate, faults.too_large = 0.0, False
        arrived(trial, worker)
        figures = worker.call("stats")
        expected = {"pending": 0, "in_flight": 0, "sent": len(acknowledged), "rejected": 0, "dropped": 0}
        trial.check(f"the worker's figures agree: {figures}", holds=figures == expected)
        trial.check("the worker ends well", holds=worker.end() == 0)
    delivered(trial, acknowledged, faults.taken)
    said = log.read_text()
    trial.check(f"no error is logged, and no key: {said}", holds="ERROR" not in said and KEY not in said)
    sound(trial, spool_path)
    run.count(events=len(acknowledged), requests=len(faults.taken))
    run.count(repeats=len(faults.taken) - len({delivery.request_id for delivery in faults.taken}))


def faulty_phase(trial: Trial, worker: RemoteWorker, faults: NetworkFaults, server: RawServer, first: int) -> list[str]:
    """Let the worker record and flush through faults or without a server. Return the recorded ids."""
    rng = trial.rng
    faults.fault_rate = rng.choice([0.2, 0.6, 1.0])
    faults.too_large = rng.random() < 0.15
    ids: list[str] = []
    with contextlib.ExitStack() as absence:
        if rng.random() < 0.2:
            server.stop()
            absence.callback(server.start)
        for _ in range(rng.randint(2, 8)):
            ids += worker.call("record", first + len(ids), rng.choice([0, 1, 10, 60]))
            patience = rng.choice([0, 0.02, 0.1, 0.5])
            _, took = worker.call("flush", patience)
            trial.check(f"flush({patience}) keeps its deadline, not {took:.1f} s", holds=took < patience + SOON)
    return ids


def arrived(trial: Trial, worker: RemoteWorker) -> None:
    """Check that everything arrives once the faults have stopped."""
    end = time.monotonic() + 3 * BUSY_TIMEOUT_SECONDS
    while remaining := worker.call("flush", 1)[0]:
        trial.check(f"everything arrives without faults, {remaining} events remain", holds=time.monotonic() < end)


def delivered(trial: Trial, acknowledged: list[str], taken: list[Delivery]) -> None:
    """Compare the stored events with the acknowledged ones."""
    first: dict[str, Delivery] = {}
    batches: dict[str, Delivery] = {}
    arrivals: list[str] = []
    for delivery in taken:
        trial.check("the key is that of the worker", holds=delivery.key == f"Bearer {KEY}")
        same = batches.setdefault(delivery.request_id, delivery)
        trial.check("a request that comes again is the same request", holds=same == delivery)
        for event_id, said in delivery.events:
            known = first.setdefault(event_id, delivery)
            trial.check(f"event {event_id} comes under one request id", holds=known.request_id == delivery.request_id)
            if known is delivery:
                arrivals.append(event_id)
                trial.check(f"event {event_id} has the recorded content", holds=said == _said(event_id))
    missing = [event_id for event_id in acknowledged if event_id not in first]
    trial.check(f"every acknowledged event arrives, {missing} do not", holds=not missing)
    trial.check("events arrive in order, and no others", holds=arrivals == acknowledged)


def sound(trial: Trial, spool_path: Path) -> None:
    """Check that the spool is sound."""
    spool = Spool(spool_path, project_id=PROJECT)
    found = spool.check()
    spool.close()
    trial.check(f"the spool is sound: {found}", holds=found == [])


@cache
def _said(event_id: str) -> int:
    return checksum(content(int(event_id)))


def _config(rng: random.Random, way: str) -> dict[str, Any]:
    return {
        "flush_interval_ms": rng.choice([1, 50, 500]),
        "flush_batch_size": rng.choice([1, 10, 50]),
        "max_batch_bytes": rng.choice([2000, 1 << 20]),
        # This leaves time for the second address, which is tried after a quarter of a second.
        "request_timeout_seconds": 1 if way == "silent address" else rng.choice([0.2, 0.5]),
        "synchronous": rng.choice(["normal", "full"]),
        "sent_retention_seconds": rng.choice([0, 3600]),
    }


def _way(way: str, server: RawServer, folder: Path, stack: contextlib.ExitStack) -> tuple[str, str, dict[str, str]]:
    """Return the address for the worker, its script, and additions to its environment."""
    direct = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    if way == "tls":
        return server.url.replace("http:", "https:"), SCRIPT, direct | {"REQUESTS_CA_BUNDLE": str(folder / "one.pem")}
    if way == "proxy":
        proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY"), server.url)
        return "http://ingestion.invalid", SCRIPT, {"NO_PROXY": "", "no_proxy": "", **proxy}
    if way == "silent address":
        silent = {"SILENT_PORT": str(stack.enter_context(silent_port()))}
        return f"http://localhost:{server.port}", SILENT_ADDRESS + SCRIPT, direct | silent
    if way == "resolver":
        return f"http://localhost:{server.port}", FAILING_RESOLVER + SCRIPT, direct
    return server.url, SCRIPT, direct


def certificates(folder: str) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    """Return a certificate that the worker trusts and one that it does not, or None without openssl."""
    openssl = shutil.which("openssl")
    return (_certified(openssl, folder, "one"), _certified(openssl, folder, "other")) if openssl else None


def _certified(openssl: str, folder: str, name: str) -> ssl.SSLContext:
    key, certificate = f"{folder}/{name}.key", f"{folder}/{name}.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run([openssl, *made, *names, *usage], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
