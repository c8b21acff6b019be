"""Lanes: each kind of work has threads of its own, a line of bounded length, and turns for all clients.

In: work that blocks, and for whom it is done. Out: its result, or `Busy` if the line is full or does not move. Work
that waits for another machine gives its place to others meanwhile (`elsewhere`). Nobody works for a client that has
hung up: what waits is dropped, and what runs asks `still_wanted` before it begins something long.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TypeVar

from sconectl.cas.bounds.processor_time import ProcessorTime
from sconectl.cas.bounds.refusal import Busy, CasRefusal

_Result = TypeVar("_Result")
_Ticket = asyncio.Future[None]


class Abandoned(Exception):
    """The client has hung up before its work was done."""


@dataclass(eq=False)
class Customer:
    """A connection for which work is done: limits count by its address, turns by the key of its certificate, too."""

    address: str = "here"
    key: str = ""
    gone: threading.Event = field(default_factory=threading.Event)
    ticket: _Ticket | None = None

    def hang_up(self) -> None:
        """Note that nobody waits for the result any more; called in the event loop."""
        self.gone.set()
        if self.ticket is not None:
            self.ticket.cancel()


@dataclass(eq=False)
class _Work:
    """The work of one thread; `placed` says whether it takes up a place of its lane right now.

    `seconds` is the processor time that the work took.
    """

    lane: Lane
    customer: Customer
    loop: asyncio.AbstractEventLoop
    placed: bool = True
    seconds: float = 0.0


_current: ContextVar[_Work | None] = ContextVar("current", default=None)


class Lane:
    """One kind of work: `threads` at a time, at most `waiting` in the line, `per_address` of one address in both.

    `away` is how many more may be `elsewhere`; `patience` is how long one waits in the line, in seconds.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        waiting: int,
        per_address: int,
        *,
        patience: float,
        away: int = 0,
        urgent: bool = False,
    ) -> None:
        self.urgent = urgent
        self._name = name
        self._free = threads
        self._bounds = (waiting, per_address)
        self._patience = patience
        self._pool = ThreadPoolExecutor(threads + away, thread_name_prefix=f"cas-{name}")
        self._present: Counter[str] = Counter()
        self._line = _Line()
        self._moved = time.monotonic()

    def close(self) -> None:
        """End the threads once they are idle."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def stuck(self, seconds: float) -> bool:
        """Say whether all places are taken and nothing was begun or finished for `seconds`."""
        return self._free <= 0 and time.monotonic() - self._moved > seconds

    async def run(self, customer: Customer, work: Callable[[], _Result]) -> _Result:
        """Call `work` in a thread and return its result; raises `Busy`, or `Abandoned` once the customer is gone."""
        if self._present[customer.address] >= self._bounds[1]:
            raise Busy(f"Too many requests of {customer.address} at the same time ({self._name})")
        self._present[customer.address] += 1
        try:
            await self._turn(customer)
        except BaseException:
            self._absent(customer)
            raise
        loop = asyncio.get_running_loop()
        task = _Work(self, customer, loop)
        context = copy_context()
        context.run(_current.set, task)
        running = self._pool.submit(context.run, _timed, task, work)

        def done(_: Future[_Result]) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._done, task)

        running.add_done_callback(done)
        try:
            return await asyncio.wrap_future(running)
        finally:
            del running  # a refusal, whose traceback has this frame, would hold itself

    def _done(self, task: _Work) -> None:
        self._absent(task.customer)
        self._line.spent.add(task.customer.address, task.seconds)
        self._leave(task)

    def _leave(self, task: _Work) -> None:
        if not task.placed:
            return
        task.placed = False
        self._moved = time.monotonic()
        self._pass_on()

    def _pass_on(self) -> None:
        """Give a place back: to the first in the line, if anybody waits."""
        self._free += 1
        while self._free > 0 and (ticket := self._line.first()) is not None:
            if not ticket.done():
                self._free -= 1
                ticket.set_result(None)

    async def _turn(self, customer: Customer) -> None:
        if self._free > 0:
            self._free -= 1
            self._moved = time.monotonic()
            return
        if len(self._line) >= self._bounds[0]:
            raise Busy(f"Too many requests are waiting ({self._name})")
        ticket = customer.ticket = asyncio.get_running_loop().create_future()
        self._line.join(customer, ticket)
        try:
            await asyncio.wait_for(ticket, self._patience)
        except TimeoutError:
            if not _granted(ticket):
                raise Busy(f"The request waited for more than {self._patience:g} seconds ({self._name})") from None
        except asyncio.CancelledError:
            if _granted(ticket):
                self._pass_on()
            if customer.gone.is_set():
                raise Abandoned from None
            raise
        finally:
            customer.ticket = None
            self._line.leave(customer, ticket)

    def _absent(self, customer: Customer) -> None:
        self._present[customer.address] -= 1
        if not self._present[customer.address]:
            del self._present[customer.address]

    async def _come_back(self, task: _Work) -> None:
        await self._turn(task.customer)
        task.placed = True

    @contextlib.contextmanager
    def _elsewhere(self, task: _Work) -> Iterator[None]:
        task.loop.call_soon_threadsafe(self._leave, task)
        try:
            yield
        finally:
            back = asyncio.run_coroutine_threadsafe(self._come_back(task), task.loop)
            try:
                back.result(self._patience + 1)
            finally:
                back.cancel()  # of a loop that stood still: nobody takes the place any more


def _granted(ticket: _Ticket) -> bool:
    """Say whether the turn has come, perhaps in the very moment in which its owner stopped waiting."""
    return ticket.done() and not ticket.cancelled()


class _Line:
    """The waiting customers: the address that used least lately is next; its keys take turns, each in order."""

    def __init__(self) -> None:
        self.spent = ProcessorTime()
        self._addresses: OrderedDict[str, OrderedDict[str, deque[_Ticket]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def join(self, customer: Customer, ticket: _Ticket) -> None:
        self._addresses.setdefault(customer.address, OrderedDict()).setdefault(customer.key, deque()).append(ticket)
        self._length += 1

    def leave(self, customer: Customer, ticket: _Ticket) -> None:
        keys = self._addresses.get(customer.address, OrderedDict())
        if ticket in keys.get(customer.key, ()):
            keys[customer.key].remove(ticket)
            self._removed(customer.address, customer.key)

    def first(self) -> _Ticket | None:
        """Take the ticket out whose turn it is."""
        if not self._addresses:
            return None
        # Among those who used as much, to a hundredth of a second, turns go round.
        address = min(self._addresses, key=lambda one: round(self.spent.lately(one), 2))
        keys = self._addresses[address]
        key, tickets = next(iter(keys.items()))
        ticket = tickets.popleft()
        keys.move_to_end(key)
        self._addresses.move_to_end(address)
        self._removed(address, key)
        return ticket

    def _removed(self, address: str, key: str) -> None:
        self._length -= 1
        keys = self._addresses[address]
        if not keys[key]:
            del keys[key]
        if not keys:
            del self._addresses[address]


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """While a thread waits for another machine, its place in the lane is free for others."""
    task = _current.get()
    if task is None:
        yield
    else:
        with task.lane._elsewhere(task):
            yield


def leave_place() -> None:
    """Give the place of this thread in its lane to others: the rest of its work mostly waits for the disk."""
    task = _current.get()
    if task is not None:
        task.loop.call_soon_threadsafe(task.lane._leave, task)


def still_wanted() -> None:
    """Raise `Abandoned` if the client that this thread works for has hung up."""
    task = _current.get()
    if task is not None and task.customer.gone.is_set():
        raise Abandoned


def _timed(task: _Work, work: Callable[[], _Result]) -> _Result:
    still_wanted()
    began = time.thread_time()
    try:
        return work()
    except CasRefusal as refusal:
        # The frames of its traceback hold all that was read of a document, and nobody asks where a refusal was made.
        refusal.__context__ = refusal.__cause__ = None
        raise refusal.with_traceback(None)  # noqa: B904
    finally:
        task.seconds = time.thread_time() - began


def customer() -> Customer:
    """Return the customer for whom this thread works; outside of the server, one without a name."""
    task = _current.get()
    return task.customer if task is not None else Customer()


def is_urgent() -> bool:
    """Say whether this thread works in an urgent lane."""
    task = _current.get()
    return task is not None and task.lane.urgent
