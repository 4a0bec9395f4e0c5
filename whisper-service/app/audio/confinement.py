"""What a process that reads strangers' files gives up first: memory, time, files, network, offspring.

Each fence stands alone, since none can be had everywhere: limits of resources always; a system call
filter (seccomp) on Linux on x86-64 and arm64, also in unprivileged containers; a network namespace of
its own where the kernel lets an ordinary user have one. Linux only; there is no Python module for these
calls in the standard library of every supported version, so they go through libc.
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

# Linux's numbers of what is refused: making sockets, opening and changing files, starting processes or
# threads, reaching into other processes (each way to signal, to limit or to slow one counts: a file may be told
# to send a signal), changing limits, what stays behind in the kernel. What is open stays usable.
# (linux/audit.h, asm/unistd.h)
_REFUSED = {
    "x86_64": (
        0xC000003E,
        "socket 41, connect 42, bind 49, listen 50, socketpair 53, open 2, openat 257, openat2 437,"
        "creat 85, truncate 76, rename 82, renameat 264, renameat2 316, mkdir 83, mkdirat 258, rmdir 84,"
        "link 86, linkat 265, unlink 87, unlinkat 263, symlink 88, symlinkat 266, chmod 90, fchmodat 268,"
        "chown 92, lchown 94, fchownat 260, mknod 133, mknodat 259, open_by_handle_at 304,"
        "execve 59, execveat 322, clone 56, clone3 435, fork 57, vfork 58, kill 62, tkill 200, tgkill 234,"
        "rt_sigqueueinfo 129, rt_tgsigqueueinfo 297, pidfd_send_signal 424, prlimit64 302, setrlimit 160,"
        "ptrace 101, process_vm_readv 310, process_vm_writev 311, pidfd_open 434, io_uring_setup 425,"
        "fcntl 72, ioctl 16, prctl 157, setpriority 141, ioprio_set 251, sched_setparam 142,"
        "sched_setscheduler 144, sched_setattr 314, sched_setaffinity 203, shmget 29, msgget 68, semget 64,"
        "mq_open 240, add_key 248, request_key 249, keyctl 250,"
        "bpf 321, mount 165, unshare 272, setns 308",
    ),
    "aarch64": (
        0xC00000B7,
        "socket 198, connect 203, bind 200, listen 201, socketpair 199, openat 56, openat2 437,"
        "truncate 45, renameat 38, renameat2 276, mkdirat 34, linkat 37, unlinkat 35, symlinkat 36,"
        "fchmodat 53, fchownat 54, mknodat 33, open_by_handle_at 265,"
        "execve 221, execveat 281, clone 220, clone3 435, kill 129, tkill 130, tgkill 131,"
        "rt_sigqueueinfo 138, rt_tgsigqueueinfo 240, pidfd_send_signal 424, prlimit64 261, setrlimit 164,"
        "ptrace 117, process_vm_readv 270, process_vm_writev 271, pidfd_open 434, io_uring_setup 425,"
        "fcntl 25, ioctl 29, prctl 167, setpriority 140, ioprio_set 30, sched_setparam 118,"
        "sched_setscheduler 119, sched_setattr 274, sched_setaffinity 122, shmget 194, msgget 186, semget 190,"
        "mq_open 180, add_key 217, request_key 218, keyctl 219,"
        "bpf 280, mount 40, unshare 97, setns 268",
    ),
}


def die_with_parent(parent: int) -> None:
    """Be killed when the process `parent`, which started this one, ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def limit_resources(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Bound memory (address space) and processor time, and forbid files to grow, dumps and new files."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        _, highest = resource.getrlimit(kind)
        within = limit if highest == resource.RLIM_INFINITY else min(limit, highest)
        resource.setrlimit(kind, (within, within))


def be_the_first_to_go() -> None:
    """When memory runs out, have the kernel end this process and its children, not the one that has the models."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def leave_network() -> bool:
    """Move into a network namespace without interfaces; False where that is not permitted."""
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET
    return bool(_libc().unshare(flags) == 0)


def has_system_call_filter() -> bool:
    """Whether `refuse_system_calls` can work here; a kernel that has filters misses the one that is not given."""
    no_filter = _libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return platform.machine() in _REFUSED and no_filter == -1 and ctypes.get_errno() == errno.EFAULT


def refuse_system_calls() -> bool:
    """Have the kernel refuse what a decoder never does (EPERM); False where there is no filter."""
    if platform.machine() not in _REFUSED:
        return False
    architecture, names = _REFUSED[platform.machine()]
    numbers = [int(name.split()[1]) for name in names.split(",")]
    program = _filter(architecture, numbers)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def _filter(architecture: int, numbers: list[int]) -> bytes:
    """Classic BPF over struct seccomp_data: the call's number at 0, the architecture at 4."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | 1, 0x80000000
    count = len(numbers)
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill), (load, 0, 0, 0)]
    # On x86-64, numbers with bit 30 set are the same calls by another name (x32).
    steps.append((at_least, count + 1, 0, 0x40000000))
    steps += [(equal, count - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(give, 0, 0, allow), (give, 0, 0, refuse)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
