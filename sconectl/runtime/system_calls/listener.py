"""The system calls that a filter stops: received one by one, each to be answered.

In: the descriptor that the kernel gives for a filter. Out: calls; they run, or fail, as the answer says. Callers that
were killed or interrupted in the meantime wait for no answer, which is no fault.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
from fcntl import ioctl
from typing import NamedTuple

from sconectl.runtime.system_calls import kernel
from sconectl.runtime.system_calls.filter import build

_RECEIVE, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
_WAKE_ON_SAME_CPU = 1
_CALL = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_EMPTY = bytes(_CALL.size)
_CONTINUE = 1
_ERROR = struct.Struct("=i")


class Call(NamedTuple):
    """One stopped call of the thread `tid`."""

    id: int
    tid: int
    flags: int
    number: int
    architecture: int
    instruction: int
    a0: int
    a1: int
    a2: int
    a3: int
    a4: int
    a5: int


class Listener:
    """Receives the calls that the filter stops."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor of the filter."""
        self.descriptor = descriptor
        self._buffer = bytearray(_CALL.size)
        with contextlib.suppress(OSError):  # only faster; kernels before 6.6 cannot
            ioctl(descriptor, _SET_FLAGS, _WAKE_ON_SAME_CPU)

    def fileno(self) -> int:
        """Return the descriptor; it is readable when a call waits."""
        return self.descriptor

    def receive(self) -> Call | None:
        """Return the call that has waited longest; None if its caller waits no more."""
        self._buffer[:] = _EMPTY  # the kernel insists
        try:
            ioctl(self.descriptor, _RECEIVE, self._buffer, True)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR, errno.ENOTCONN):
                return None
            raise
        return Call._make(_CALL.unpack(self._buffer))

    def proceed(self, call: int) -> bool:
        """Let the call run; tell whether somebody waited for that."""
        return self._answer(_ANSWER.pack(call, 0, 0, _CONTINUE))

    def fail(self, call: int, number: int) -> bool:
        """Let the call fail with this error."""
        return self._answer(_ANSWER.pack(call, 0, -number, 0))

    def _answer(self, answer: bytes) -> bool:
        try:
            ioctl(self.descriptor, _SEND, answer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINPROGRESS):
                return False
            raise
        return True


def become_filtered(parent: socket.socket, supervisor: int) -> None:
    """In the child, before it becomes the program: set the filter, and hand its descriptor to the supervisor.

    From here on this process does not outlive its supervisor. Raises `OSError`, which the supervisor learns, too.
    """
    try:
        kernel.set_process(kernel.SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != supervisor:
            os.kill(os.getpid(), signal.SIGKILL)
        kernel.set_process(kernel.SET_NO_NEW_PRIVILEGES, 1)
        machine = kernel.architecture()
        if kernel.notification_sizes(machine.numbers["seccomp"]) != (_CALL.size, _ANSWER.size):
            raise OSError(errno.ENOSYS, "the notifications of this kernel have another form")
        descriptor = kernel.install_filter(build(machine), machine.numbers["seccomp"])
    except OSError as error:
        parent.send(_ERROR.pack(error.errno or errno.EIO))
        raise
    socket.send_fds(parent, [_ERROR.pack(0)], [descriptor])
    os.close(descriptor)


def keep_open(listener: Listener) -> int:
    """Fork a process that has the descriptor, too, until all processes with the filter have ended; return its number.

    If the supervisor is killed, stopped calls fail as soon as nobody has the descriptor, and the kernel kills their
    callers a little later. A program that takes no notice of a failed sync would promise in between what is not kept.
    So the callers wait for their own end. When this returns, that process has nothing else open: no lock of a storage.
    It never writes anything.
    """
    reading, writing = os.pipe()
    if (process := os.fork()) != 0:
        os.close(writing)
        os.read(reading, 1)  # until it has closed its end, with all others
        os.close(reading)
        return process
    try:
        os.closerange(0, listener.descriptor)
        os.closerange(listener.descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        poll = select.poll()
        poll.register(listener, 0)
        poll.poll()
    finally:
        os._exit(0)


def take_listener(child: socket.socket) -> Listener:
    """In the supervisor: wait for the child's filter. Raises `OSError` if there can be none."""
    message, descriptors, _, _ = socket.recv_fds(child, _ERROR.size, 1)
    if len(message) != _ERROR.size:
        raise OSError(errno.ESRCH, "the process that was to become the program ended")
    (number,) = _ERROR.unpack(message)
    if number or not descriptors:
        raise OSError(number or errno.EIO, os.strerror(number or errno.EIO))
    os.set_inheritable(descriptors[0], False)
    return Listener(descriptors[0])
