"""How quickly both services say how they are while the engine is busy with eight requests.

    PYTHONPATH=tests python bench/health_under_load.py [--requests 8] [--probes 400]

Each probe is a request on an open connection, as a load balancer sends it; the table has milliseconds.
"""

import argparse
import http.client
import threading
import time
from statistics import quantiles
from urllib.parse import urlsplit

import requests
from house import DATA
from processes import Service, both_services
from report import report

KEY = "bench"
FILE = DATA / "long" / "en-10min.mp3"
PAUSE = 0.01
GOAL = 50.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--probes", type=int, default=400)
    asked = parser.parse_args()
    with both_services(KEY) as (worker, gateway):
        probed = [
            (worker, "/livez"),
            (worker, "/health"),
            (gateway, "/livez"),
            (gateway, "/health"),
        ]
        rows = [row("idle", *probe, times(*probe, asked.probes)) for probe in probed]
        with Load(gateway, asked.requests) as load:
            for probe in probed:
                rows.append(row("busy", *probe, times(*probe, asked.probes)))
                load.check()
    remarks = f"{asked.requests} requests of 10 minutes run; goal: p99 under {GOAL:.0f} ms"
    report("health_under_load", rows, remarks)


class Load:
    """So many requests at once, begun anew as soon as one ends, until the block ends."""

    def __init__(self, gateway: Service, count: int) -> None:
        self._url = f"{gateway.url}/transcribe/micro"
        self._stop = threading.Event()
        self._sent = threading.Semaphore(0)
        self._failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._keep_busy, daemon=True) for _ in range(count)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            self._sent.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        # The threads are daemons: their requests end when the gateway does.
        self._stop.set()

    def check(self) -> None:
        """Raise when there was not the load that the table will speak of."""
        if self._failures:
            raise SystemExit(f"a request of the load failed: {self._failures[0]}")

    def _keep_busy(self) -> None:
        content = FILE.read_bytes()
        while not self._stop.is_set():
            self._sent.release()
            try:
                answer = requests.post(
                    self._url, headers={"Authorization": f"Bearer {KEY}"}, files={"file": content}
                )
            except requests.ConnectionError as error:
                if not self._stop.is_set():
                    self._failures.append(str(error))
                return
            if answer.status_code != 200 and not self._stop.is_set():
                self._failures.append(answer.text)
                return


def times(probed: Service, path: str, count: int) -> list[float]:
    """Milliseconds of `count` probes, one after the other."""
    connection = http.client.HTTPConnection(urlsplit(probed.url).netloc, timeout=60)
    milliseconds = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        milliseconds.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
        time.sleep(PAUSE)
    connection.close()
    return milliseconds


def row(
    state: str, probed: Service, path: str, milliseconds: list[float]
) -> dict[str, str | float]:
    """One line of the table."""
    name = "gateway" if "gateway" in probed.log_file.name else "worker"
    cuts = quantiles(milliseconds, n=100)
    return {
        "state": state,
        "probe": f"{name} {path}",
        "p50 ms": cuts[49],
        "p95 ms": cuts[94],
        "p99 ms": cuts[98],
        "max ms": max(milliseconds),
    }


if __name__ == "__main__":
    main()
