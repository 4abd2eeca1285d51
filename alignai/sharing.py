"""
What the clients of one process share: one spool, one upkeep and one sender for all that want the same.

A hundred clients on one path would otherwise take three hundred threads and a thousand descriptors.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignai.config import Config
from alignai.maintenance import Maintenance
from alignai.sender import Sender
from alignai.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Hashable

    from alignai._settings import Settings
    from alignai.deadline import Deadline
    from alignai.results import FlushResult

_DEFAULTS = Config()
_lock = threading.RLock()
_pid = os.getpid()
_senders: weakref.WeakValueDictionary[Settings, Sender] = weakref.WeakValueDictionary()
_spools: weakref.WeakValueDictionary[Hashable, Maintenance] = weakref.WeakValueDictionary()
_live: weakref.WeakSet[Sender] = weakref.WeakSet()


class Share:
    """
    One client's share in a sender, from its construction until it is closed or forgotten.

    Args:
        settings: What the client runs with.

    Attributes:
        sender: What it shares.
        spool: The sender's spool.
    """

    def __init__(self, settings: Settings) -> None:
        self.sender = _sender_for(settings, self)
        self.spool = self.sender.spool
        try:
            self.sender.start()
        except BaseException:
            self.forget()  # no client will
            raise

    def flush(self, deadline: Deadline) -> FlushResult:
        """Have everything that is committed by now uploaded; wait until *deadline*, or until this is closed."""
        return self.sender.flush(deadline, self._in_use)

    def close(self, deadline: Deadline) -> None:
        """Flush until *deadline* and give the share back; with the last one, threads, lease and spool go."""
        remaining = 0
        try:
            if self._in_use():
                remaining = self.sender.drain(deadline, self._in_use)
        finally:
            was_in_use = self.sender.users.leave(self)
            if self.sender.users.ended:
                self.sender.stop(deadline)
        if was_in_use:
            self.sender.report(remaining)

    def forget(self) -> None:
        """
        Give the share back, and wait for nothing: this is the finaliser of the client, which may run at any line.

        The threads see to the rest. No lock is taken, since the interrupted code may hold it.
        """
        self.sender.users.forget(self)
        self.sender.threads.wake()

    def _in_use(self, _remaining: int = 0) -> bool:
        return self in self.sender.users


def _sender_for(settings: Settings, user: Share) -> Sender:
    """The sender for *settings*, with *user* counted in; it is made, and its spool opened, if there is none."""
    if _pid != os.getpid():  # C code has forked without Python's hooks
        reset_after_fork()
    path = Path(os.path.realpath(settings.spool_path))
    config = settings.config
    key = replace(settings, spool_path=path, config=_sending(config))
    spool_key = (
        path, settings.project_id, config.synchronous, config.max_spool_bytes, config.on_full,
        config.sent_retention_seconds,
    )  # fmt: skip
    with _lock:
        sender = _attached(key, spool_key, user, settings, None)
    if sender is None:
        spool = _open(settings)  # without the lock, since another process may hold it up
        try:
            with _lock:
                sender = _attached(key, spool_key, user, settings, spool)
            assert sender is not None  # there is a spool  # noqa: S101
        finally:
            if sender is None or sender.spool is not spool:
                spool.close()
    return sender


def _attached(
    key: Settings, spool_key: Hashable, user: Share, settings: Settings, spool: Spool | None
) -> Sender | None:
    """The sender that is there, else a new one on the spool that is there, else on *spool*; None without one."""
    sender = _senders.get(key)
    if sender is not None and sender.users.join(user):
        return sender
    maintenance = _spools.get(spool_key)
    if maintenance is None or maintenance.users.ended:
        if spool is None:
            return None
        maintenance = _spools[spool_key] = Maintenance(spool)
    sender = Sender(maintenance, key)
    sender.users.join(user)
    if not maintenance.users.join(sender):
        return _attached(key, spool_key, user, settings, spool)
    _live.add(sender)
    _senders[key] = sender
    return sender


def _open(settings: Settings) -> Spool:
    config = settings.config
    return Spool(
        settings.spool_path,
        project_id=settings.project_id,
        synchronous=config.synchronous,
        max_bytes=config.max_spool_bytes,
        on_full=config.on_full,
        retention=config.sent_retention_seconds,
    )


def _sending(config: Config) -> Config:
    """The settings of *config* that matter to the spool and the sender; the others are as by default."""
    return replace(
        config,
        spool_path=None,
        max_buffer_size=_DEFAULTS.max_buffer_size,
        api_max_retries=_DEFAULTS.api_max_retries,
        max_event_bytes=_DEFAULTS.max_event_bytes,
        on_spool_error=_DEFAULTS.on_spool_error,
        before_spool=None,
    )


# -- what the process does to all of them ------------------------------------------------------------------------------


def senders() -> list[Sender]:
    """Every sender of this process."""
    return list(_live)


def reset_after_fork() -> None:
    """Begin as in a new process: no thread, no lock, no lease and no connection of the parent's is used."""
    global _lock, _pid  # noqa: PLW0603 - the old one may be held by a thread that is not here
    _lock = threading.RLock()
    for sender in senders():
        sender.reset_after_fork()
    _pid = os.getpid()
