"""Memory of processes and of their children, in MB; Linux alone. A process is its id, or "self"."""

from pathlib import Path


def resident(pid: int | str = "self") -> float:
    """Return what is resident of a process."""
    return _status("VmRSS", pid)


def reset_peak(pid: int | str = "self") -> None:
    """Let the peak begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int | str = "self") -> float:
    """Return the peak of it since it was reset."""
    return _status("VmHWM", pid)


def children(pid: int) -> list[str]:
    """Return the processes that `pid` has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def own_memory(pid: str) -> float:
    """Return what a process shares with no other; 0 where it has just ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    sizes = {line.split(":")[0]: line.split()[1] for line in rollup.splitlines()[1:]}
    return (int(sizes["Private_Clean"]) + int(sizes["Private_Dirty"])) / 1024


def own_memory_of_children(pid: int) -> float:
    """Return what memory the processes that `pid` has started share with no other."""
    return sum(map(own_memory, children(pid)))


def _status(key: str, pid: int | str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024
