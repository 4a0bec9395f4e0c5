"""Who is next: priority classes with ageing, fair between tenants and requests, slow start in a file.

Inside a class fairness is self-clocked fair queueing (Golestani 1994) on two levels: each tenant, and
each request inside a tenant, carries a tag, the audio seconds served so far; whose tag would be smallest
after its next window is next, and whoever arrives anew starts where the class' clock stands, at the
largest tag served. So a short clip passes between the windows of a long file, many short clips do not
starve it, and nobody saves up credit by being idle, but for one window: the next one of a request that
goes on may come a little after its turn. Pure: the caller holds the lock.
"""

import itertools
import math
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

Priority = Literal["live", "interactive", "bulk"]
RANKS: dict[str, int] = {"live": 0, "interactive": 1, "bulk": 2}

AHEAD_SECONDS = 30.0
"""A window. Audio by which a request may be ahead of its tenant's others, because it fits batches of other
tenants; and how far behind the clock one may stand that had none waiting."""
BOUNDLESS_PATIENCE = (len(RANKS), False)
"""More patience than anybody has."""
AGEING_SECONDS = 30.0
"""A class that has waited this long for a window counts as one higher, and so on, so that none starves."""


class Job(Protocol):
    """What the queue must know of a window."""

    @property
    def key(self) -> Hashable:
        """Jobs with equal keys may share a batch."""

    @property
    def audio_seconds(self) -> float:
        """What the job costs; above 0."""

    @property
    def weight(self) -> int:
        """How many usual windows take as much of a batch; equal for equal keys."""

    @property
    def share(self) -> float:
        """How much of a full window its step takes: less than 1 where a shorter one is encoded."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the one step that every window takes, so that speed is learned from it."""

    @property
    def is_apart(self) -> bool:
        """Whether the window never comes to that step, so that this one says nothing of others."""

    @property
    def description(self) -> str:
        """Which window this is, for the log: request and times, never text."""


J = TypeVar("J", bound=Job)


@dataclass(slots=True, eq=False)
class Entry(Generic[J]):
    """A job that waits, and the future that its request waits for."""

    job: J
    place: "Place[J]"
    future: Future[Any]
    queued_at: float
    is_further: bool = False
    """Whether the window has run before: what it takes now comes on top."""


@dataclass(slots=True, eq=False)
class Place(Generic[J]):
    """The place of one request in the queue."""

    tenant: str
    rank: int
    number: int
    tag: float = 0.0
    served_seconds: float = 0.0
    batches: int = 0
    waiting_since: float = 0.0
    entries: deque[Entry[J]] = field(default_factory=deque)
    running: set[Entry[J]] = field(default_factory=set)
    """Windows in flight."""

    @property
    def is_busy(self) -> bool:
        """Whether it has windows that wait or run; else it reads its file, makes text, or waits for its client."""
        return bool(self.entries or self.running)

    @property
    def account(self) -> tuple[str, int]:
        """Of its tenant, in its class."""
        return self.tenant, self.rank

    @property
    def patience(self) -> tuple[int, bool]:
        """Who may wait longer has more: its class, then whether it has been served more than a window."""
        return self.rank, self.served_seconds > AHEAD_SECONDS

    def rank_at(self, now: float) -> int:
        """Its class, 0 the most urgent, as it has aged while a window waits."""
        if not self.entries:
            return self.rank
        return max(0, self.rank - int((now - self.waiting_since) / AGEING_SECONDS))


def class_ranks(places: Iterable[Place[Any]], now: float) -> dict[int, int]:
    """The rank that each class has now: as high as that of its place which has aged most.

    Age decides between classes alone. Inside of one, all who wait for long would go before whoever
    has been served less.
    """
    ranks: dict[int, int] = {}
    for place in places:
        ranks[place.rank] = min(ranks.get(place.rank, place.rank), place.rank_at(now))
    return ranks


@dataclass(slots=True, eq=False)
class Account(Generic[J]):
    """What a tenant has been served in one class; `clock` is the tag that its requests have reached."""

    tag: float
    clock: float = 0.0
    places: set[Place[J]] = field(default_factory=set)


class FairQueue(Generic[J]):
    """Waiting windows of all requests; see the module for the order."""

    def __init__(self, *, fills_up: bool = True) -> None:
        """`fills_up`: whether whatever fits may fill a batch, as where a full one takes hardly longer.

        Otherwise nothing joins that may wait longer than one that is there: no lower class, and to a request's
        first window no file that has been served before; and beside others a request has one window in a batch.
        """
        self._fills_up = fills_up
        self._accounts: dict[tuple[str, int], Account[J]] = {}
        self._clocks = dict.fromkeys(RANKS.values(), 0.0)
        self._numbers = itertools.count()

    def open(self, tenant: str, priority: Priority) -> Place[J]:
        """A new place, empty at first."""
        place: Place[J] = Place(tenant, RANKS[priority], next(self._numbers))
        account = self._accounts.setdefault(place.account, Account(self._clocks[place.rank]))
        account.places.add(place)
        return place

    def close(self, place: Place[J]) -> list[Entry[J]]:
        """Give up a place; its windows that have not started are handed back."""
        dropped = list(place.entries)
        place.entries.clear()
        account = self._accounts[place.account]
        account.places.discard(place)
        if not account.places:  # a tenant that comes back starts at the class' clock anyway
            del self._accounts[place.account]
        return dropped

    def push(self, entry: Entry[J], now: float, *, urgent: bool = False) -> None:
        """Add a window at the end of its place, or in front of it when it is `urgent`."""
        place = entry.place
        account = self._accounts[place.account]
        if not any(other.entries for other in account.places):
            account.tag = max(account.tag, self._clocks[place.rank] - AHEAD_SECONDS)
        if not place.entries:
            credit = AHEAD_SECONDS if place.batches else 0.0
            place.tag = max(place.tag, account.clock - credit)
            place.waiting_since = now
        if urgent:
            place.entries.appendleft(entry)
        else:
            place.entries.append(entry)

    def take(self, now: float, max_batch_size: int) -> list[Entry[J]]:
        """The next batch: the most urgent window, then compatible ones in the same fair order.

        Work-conserving: it never waits for more. A request gets 1, 2, 4, 8 ... windows into its
        first, second ... batch. Windows whose future was cancelled are dropped on the way.
        """
        batch: list[Entry[J]] = []
        most, patience = 1, BOUNDLESS_PATIENCE
        while len(batch) < most and (entry := self._next(batch, patience, now)) is not None:
            entry.place.entries.remove(entry)
            if entry.future.set_running_or_notify_cancel():
                most = max_batch_size // entry.job.weight
                patience = min(patience, entry.place.patience)
                self._charge(entry, now, is_turn=not batch)
                entry.place.running.add(entry)
                batch.append(entry)
        for place in {entry.place.number: entry.place for entry in batch}.values():
            place.batches += 1
        return batch

    def has_run(self, entry: Entry[J]) -> None:
        """Tell that a window's step has ended."""
        entry.place.running.discard(entry)

    def busy(self, rank: int) -> int:
        """How many requests of a class, or of a higher one, have windows that wait or run."""
        return sum(place.rank <= rank and place.is_busy for place in self._places())

    def _next(
        self, batch: list[Entry[J]], patience: tuple[int, bool], now: float
    ) -> Entry[J] | None:
        candidates = list(self._candidates(batch, patience))
        if not candidates:
            return None
        top = _next_class([entry.place for entry in candidates], now)
        firsts: dict[str, Entry[J]] = {}
        for entry in sorted((e for e in candidates if e.place.rank == top), key=_turn):
            firsts.setdefault(entry.place.tenant, entry)

        def tenants_turn(entry: Entry[J]) -> tuple[float, int, int]:
            tag = self._accounts[entry.place.account].tag + entry.job.audio_seconds
            return tag, entry.place.batches, entry.place.number

        return min(firsts.values(), key=tenants_turn)

    def _candidates(self, batch: list[Entry[J]], patience: tuple[int, bool]) -> Iterator[Entry[J]]:
        """The first window of each request that may still join the batch.

        In batches that another tenant began, requests that fit may run ahead of the tenant's others by
        AHEAD_SECONDS only: it pays for them, and would never have a turn for the others.
        """
        crowded = self._crowded_ranks()
        for name, account in self._accounts.items():
            fitting: list[Entry[J]] = []
            most = math.inf
            for place in account.places:
                taken = sum(entry.place is place for entry in batch)
                allowed = 1 if place.rank in crowded else 1 << min(place.batches, 16)
                is_late = not self._fills_up and not taken and place.patience > patience
                if not is_late and (first := _fitting(batch, place)) is not None:
                    if taken < allowed:
                        fitting.append(first)
                elif place.entries:
                    most = min(most, place.tag + AHEAD_SECONDS)
            if batch and batch[0].place.account == name:
                most = math.inf
            yield from (entry for entry in fitting if entry.place.tag <= most)

    def _crowded_ranks(self) -> set[int]:
        """Classes in which a request has one window in a batch, beside others that have windows too."""
        return {rank for rank in RANKS.values() if not self._fills_up and self.busy(rank) > 1}

    def _charge(self, entry: Entry[J], now: float, *, is_turn: bool) -> None:
        place, cost = entry.place, entry.job.audio_seconds
        account = self._accounts[place.account]
        account.tag += cost
        self._clocks[place.rank] = max(self._clocks[place.rank], account.tag)
        place.tag += cost
        place.served_seconds += cost
        account.clock = max(account.clock, place.tag)
        place.waiting_since = now
        if is_turn:  # and no mere filling of a batch: its class waits anew
            for other in self._places():
                if other.rank == place.rank:
                    other.waiting_since = now

    def _places(self) -> Iterator[Place[J]]:
        return (place for account in self._accounts.values() for place in account.places)

    def __iter__(self) -> Iterator[Entry[J]]:
        for place in self._places():
            yield from place.entries

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _fitting(batch: Sequence[Entry[J]], place: Place[J]) -> Entry[J] | None:
    """The first window of a request that may share the batch."""
    return next((e for e in place.entries if not batch or e.job.key == batch[0].job.key), None)


def _next_class(places: Sequence[Place[Any]], now: float) -> int:
    """The class whose turn it is, by its rank before it has aged.

    Of classes that age has made equal, the one that has waited longest is next, and then waits anew.
    """
    ranks = class_ranks(places, now)
    since = {rank: min(p.waiting_since for p in places if p.rank == rank) for rank in ranks}
    return min(ranks, key=lambda rank: (ranks[rank], since[rank], -rank))


def _turn(entry: Entry[J]) -> tuple[float, int, int]:
    place = entry.place
    return place.tag + entry.job.audio_seconds, place.batches, place.number
