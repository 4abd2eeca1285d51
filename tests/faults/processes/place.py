"""The place of a trial: its server and its folder. It starts processes and checks their ends."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.faults.kill.worker import Orders
from tests.support.clients import worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.scenario import Trial
    from tests.support.servers.connect import ConnectServer

LIFE = "from tests.faults.processes.worker import main; main()"
RECORDER = "from tests.faults.kill.worker import main; main()"


@dataclass(frozen=True)
class Place:
    """The server and the folder of a trial."""

    trial: Trial
    server: ConnectServer
    folder: Path
    config: dict[str, Any]

    @property
    def spool_path(self) -> Path:
        return self.folder / "spool.db"

    def orders(self, name: str, **orders: Any) -> Orders:
        """Return orders for a process. All processes write to one journal."""
        return Orders(name, str(self.folder / "journal"), **{"config": self.config, **orders})

    def lives(self, life: str, argument: str = "", script: str = LIFE) -> None:
        """Run a process to its end and check that it has no error."""
        with self.worker(script, life, self.orders("parent").encoded(), argument) as process:
            self.ended(process)

    def worker(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a process."""
        return worker(script, self.server.url, self.spool_path, *arguments, stderr=subprocess.PIPE)

    def ended(self, process: subprocess.Popen[str], *codes: int, logs: tuple[str, ...] = ()) -> None:
        """Check that a process ends with one of *codes* and logs no errors except *logs*."""
        try:
            _, logged = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            self.trial.fail(f"{process.args} hangs: {process.communicate()}")
        well = process.returncode in (codes or (0,))
        self.trial.check(f"{process.args[3:]} ends well: {process.returncode}, {logged}", holds=well)
        clean = not any(word in logged for word in {"ERROR", "Traceback", "Exception ignored"}.difference(logs))
        self.trial.check(f"{process.args[3:]} logs no error: {logged}", holds=clean)
