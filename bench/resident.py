"""Resident memory of this process and of the children of others, in MB; Linux alone."""

from pathlib import Path


def resident() -> float:
    """Return this process's resident memory."""
    return _status("VmRSS")


def reset_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the peak of it since it was reset."""
    return _status("VmHWM")


def own_memory_of_children(pid: int) -> float:
    """Return what memory the processes that `pid` has started share with no other."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(_own_memory, children))


def _status(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


def _own_memory(pid: str) -> float:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0.0
    sizes = {line.split(":")[0]: line.split()[1] for line in rollup.splitlines()[1:]}
    return (int(sizes["Private_Clean"]) + int(sizes["Private_Dirty"])) / 1024
