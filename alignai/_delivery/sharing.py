"""
Sharing among the clients of one process: clients with the same settings have one spool, and one sender.

Otherwise a hundred clients on one path would use three hundred threads and a thousand descriptors.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alignai._delivery.maintenance import MaintenanceThread
from alignai._delivery.sender import Sender
from alignai._exclusive import exclusive
from alignai.config import Config
from alignai.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Hashable

    from alignai._settings import Settings
    from alignai.deadline import Deadline
    from alignai.results import FlushResult

_DEFAULTS = Config()


class Share:
    """
    One client's share in a sender, from its opening until it is closed or the client is garbage-collected.

    Attributes:
        sender: The shared sender. Set before the share counts as a user, so that an interrupted `open` can undo it.
    """

    sender: Sender

    def open(self, settings: Settings) -> None:
        """
        Join the sender for *settings*. If there is none, it is made, and its spool is opened.

        Raises:
            SpoolError: The spool cannot be used.
        """
        try:
            _registry.find_sender(settings, self)
            self.sender.start()
        except BaseException:
            self.forget()  # no client will do it
            raise

    def flush(self, deadline: Deadline) -> FlushResult:
        """Have all events uploaded that are committed by now. Wait until *deadline*, or until this is closed."""
        return self.sender.flush(deadline, self._in_use)

    def close(self, deadline: Deadline) -> None:
        """Flush until *deadline* and give the share back. The last one ends the threads, the lease and the spool."""
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

    def leave(self) -> None:
        """Give the share back without waiting. After the last one the threads end, and close the spool."""
        self.sender.users.leave(self)
        self.sender.threads.wake()

    def forget(self) -> None:
        """
        Give the share back without waiting: this is the finaliser of the client, which may run at any line.

        The threads do the rest. No lock is taken, since the interrupted code may hold it.
        """
        if hasattr(self, "sender"):
            self.sender.users.forget(self)
            self.sender.threads.wake()

    def _in_use(self, _remaining: int = 0) -> bool:
        return self in self.sender.users


class _Registry:
    """The senders and spools of this process that clients can share."""

    def __init__(self) -> None:
        self.senders: weakref.WeakSet[Sender] = weakref.WeakSet()
        self._by_settings: weakref.WeakValueDictionary[Settings, Sender] = weakref.WeakValueDictionary()
        self._by_spool: weakref.WeakValueDictionary[Hashable, MaintenanceThread] = weakref.WeakValueDictionary()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin as in a new process: no thread, lock, lease or connection of the parent is used."""
        self._lock = threading.RLock()
        for sender in list(self.senders):
            sender.reset_after_fork()
        self._pid = os.getpid()

    def find_sender(self, settings: Settings, user: Share) -> None:
        """Have *user* join the sender for *settings*. If there is none, make it and open its spool."""
        if self._pid != os.getpid():  # C code has forked without Python's hooks
            self.reset_after_fork()
        path = Path(os.path.realpath(settings.spool_path))
        key = replace(settings, spool_path=path, config=_delivery_config(settings.config))
        if self._join(key, user, None):
            return
        spool = _open(settings)  # without the lock, since another process may hold this up
        joined = False
        try:
            joined = self._join(key, user, spool)
        finally:
            made = hasattr(user, "sender") and user.sender.spool is spool
            if made and not joined:
                user.sender.abandon()
            if not (made and joined):
                spool.close()

    @exclusive
    def _join(self, key: Settings, user: Share, spool: Spool | None) -> bool:
        """Join the existing sender, else a new one on the existing spool or on *spool*. False if there is no spool."""
        sender = self._by_settings.get(key)
        if sender is not None:
            user.sender = sender
            if sender.users.join(user):
                return True
        maintenance = self._by_spool.get(_spool_key(key))
        if maintenance is None or maintenance.users.ended:
            if spool is None:
                return False
            maintenance = MaintenanceThread(spool)
        user.sender = sender = Sender(maintenance, key)
        sender.users.join(user)
        if not maintenance.users.join(sender):  # its last sender has just left
            return self._join(key, user, spool)
        self.senders.add(sender)
        self._by_spool[_spool_key(key)] = maintenance
        self._by_settings[key] = sender
        return True


_registry = _Registry()


def senders() -> list[Sender]:
    """Every sender of this process."""
    return list(_registry.senders)


def reset_after_fork() -> None:
    """Begin as in a new process."""
    _registry.reset_after_fork()


def _spool_key(settings: Settings) -> Hashable:
    config = settings.config
    limits = (config.synchronous, config.max_spool_bytes, config.on_full, config.sent_retention_seconds)
    return settings.spool_path, settings.project_id, limits


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


def _delivery_config(config: Config) -> Config:
    """Return *config* with the settings that the spool and the sender do not use set to their defaults."""
    return replace(
        config,
        spool_path=None,
        max_buffer_size=_DEFAULTS.max_buffer_size,
        api_max_retries=_DEFAULTS.api_max_retries,
        max_event_bytes=_DEFAULTS.max_event_bytes,
        on_spool_error=_DEFAULTS.on_spool_error,
        before_spool=None,
    )
