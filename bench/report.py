"""What all benchmarks share: a table on the screen, a file of results, and on what they were measured."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("av", "ctranslate2", "faster-whisper", "numpy", "onnxruntime")

Row = Mapping[str, str | float | int]


def report(name: str, rows: Sequence[Row], remarks: str = "") -> None:
    """Print the rows as a table under `name` and write them to bench/results/NAME.json."""
    columns = list(rows[0])
    cells = [columns, *([_shown(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{name}: {remarks}" if remarks else f"\n{name}")
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    measured_on = surroundings()
    print("; ".join(f"{key} {value}" for key, value in measured_on.items()))
    RESULTS.mkdir(exist_ok=True)
    result = {"name": name, "remarks": remarks, "measured_on": measured_on, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1))


def surroundings() -> dict[str, str]:
    """Return machine, versions, commit and load, without which a figure means nothing."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit or "unknown",
        "processor": _processor(),
        "cpus": str(os.cpu_count()),
        **_gpu(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    for line in known.read_text().splitlines() if known.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _gpu() -> dict[str, str]:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return {}
    told = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return {"gpu": ", ".join(told.split("\n")).strip(", ")}


def _shown(value: str | float) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
