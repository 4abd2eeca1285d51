"""Disks that fail on demand: a small one that fills up, a read-only one, and one whose calls return errors."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

/* error, how often of 1000, on writes, on syncs, on reads; counted: how many have failed */
struct faults { int error, often, writes, syncs, reads, counted; };
static volatile struct faults *faults;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("FAULTS"), O_RDWR);
    faults = mmap(0, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
}

static int fails(int fd, int of_this_kind) {
    char link[64], path[4096];
    if (!faults->error || !of_this_kind || rand() % 1000 >= faults->often) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    if (!strstr(path, "spool.db") || strstr(path, ".lease")) return 0;
    faults->counted++;
    errno = faults->error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define WRITES(name, offset) ssize_t name(int fd, const void *data, size_t size, offset at) { \
    REAL(name); return fails(fd, faults->writes) ? -1 : real(fd, data, size, at); }
#define READS(name, offset) ssize_t name(int fd, void *data, size_t size, offset at) { \
    REAL(name); return fails(fd, faults->reads) ? -1 : real(fd, data, size, at); }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)
READS(pread, off_t)
READS(pread64, off64_t)
int fsync(int fd) { REAL(fsync); return fails(fd, faults->syncs) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return fails(fd, faults->syncs) ? -1 : real(fd); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return fails(fd, faults->writes) ? -1 : real(fd, size); }
"""
_FIELDS = struct.Struct("6i")


class Faults:
    """The errors of the disk of another process, set from outside."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "faults"
        self.path.write_bytes(bytes(_FIELDS.size))
        self._library = folder / "shim.so"
        source = folder / "shim.c"
        source.write_text(_SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self._library, source, "-ldl"], check=True, timeout=60)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the process whose disk fails."""
        return {"LD_PRELOAD": str(self._library), "FAULTS": str(self.path)}

    def begin(self, error: int, often: int, *, writes: bool, syncs: bool, reads: bool) -> None:
        """Let such calls on the spool's files fail, so many of a thousand."""
        self._set(_FIELDS.pack(error, often, writes, syncs, reads, 0))

    def end(self) -> int:
        """End the faults and return the number of failed calls."""
        (*_, counted) = _FIELDS.unpack(self.path.read_bytes())
        self._set(bytes(_FIELDS.size))
        return int(counted)

    def _set(self, content: bytes) -> None:
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), _FIELDS.size) as mapped:
            mapped[:] = content


@cache
def cannot_shim() -> str:
    """Return the reason why system calls cannot be made to fail here, or an empty string."""
    if os.uname().sysname != "Linux":
        return "the shim is written for Linux"
    return "" if shutil.which("cc") else "there is no C compiler"


@cache
def cannot_mount() -> str:
    """Return the reason why no disk can be mounted here, or an empty string."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return "only root may mount a disk"
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/tmp"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "this system mounts no disks"


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, timeout=60)
    try:
        yield folder
    finally:
        # A process that still uses it keeps it until it ends.
        subprocess.run(["umount", "--lazy", folder], check=True, timeout=60)


def make_read_only(disk: Path, *, yes: bool) -> None:
    """
    Make a mounted disk read-only, or writable again.

    Raises:
        OSError: The system refuses, because a file is open for writing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    remount, read_only = 32, 1
    if libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", remount | (read_only if yes else 0), None):
        code = ctypes.get_errno()
        raise OSError(code, errno.errorcode.get(code, "?"))


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk except for *leave* bytes and return the file that fills it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - leave))
    return filler
