"""Runs inside a container: starts a program under observation and writes down which files it opens.

Standard library only, and no import of ours. Usage: `python3 tracer.py SECONDS PROGRAM ARGUMENTS…`. The program's
output goes to stderr; stdout gets one line for each call that succeeded, in the form of `strace -f`. Follows forks
and threads. Ends with the program, or ends it after SECONDS. Needs Linux 5.3 on x86-64 or 64-bit ARM.
"""

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import sys

SECONDS_LIMIT = 3600
O_PATH = 0o10000000
O_DIRECTORY = 0o200000 if platform.machine() == "x86_64" else 0o40000
PTRACE_TRACEME, PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SETOPTIONS, PTRACE_GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100000
"""TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC; EXITKILL: nothing survives the tracer."""
EVENTS = {1: "fork", 2: "vfork", 3: "clone"}
WALL = 0x40000000
ENTRY, EXIT = 1, 2
LONGEST_PATH = 4096
PAGE = 4096

# Number -> name, number of the argument with the directory (or None), with the path, with the flags (or None).
CALLS = {
    "x86_64": {
        2: ("open", None, 0, 1), 59: ("execve", None, 0, None), 80: ("chdir", None, 0, None),
        85: ("creat", None, 0, None), 257: ("openat", 0, 1, 2), 322: ("execveat", 0, 1, None),
        437: ("openat2", 0, 1, None),
    },
    "aarch64": {
        49: ("chdir", None, 0, None), 56: ("openat", 0, 1, 2), 221: ("execve", None, 0, None),
        281: ("execveat", 0, 1, None), 437: ("openat2", 0, 1, None),
    },
}.get(platform.machine(), {})  # fmt: skip

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class SyscallInfo(ctypes.Structure):
    """The kernel's facts about a stop at a system call; `values` begin with its number, or with its result."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("values", ctypes.c_uint64 * 7),
    )


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    """Call ptrace; a process that is gone raises `ProcessLookupError`."""
    result: int = libc.ptrace(request, pid, address, data)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def memory(pid: int, address: int) -> bytes:
    """Return the bytes up to the next NUL, or nothing if they cannot be read."""
    data = b""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:  # noqa: PTH123 - one call, often
            while len(data) < LONGEST_PATH:
                file.seek(address + len(data))
                part = file.read(PAGE - (address + len(data)) % PAGE)  # a path may end where the memory does
                data += part
                if b"\0" in part or not part:
                    break
    except (OSError, ValueError, OverflowError):
        pass
    return data.split(b"\0")[0]


def quoted(data: bytes) -> str:
    """Return bytes as strace shows them."""
    plain = {34: '\\"', 92: "\\\\"}
    return "".join(plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in data)


def kill(pid: int) -> None:
    """Kill a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Tracer:
    """Follows a program and all that it starts."""

    def __init__(self) -> None:
        self.pending: dict[int, str] = {}
        self.known: set[int] = set()
        self.written: set[str] = set()
        self.ended = False

    def end(self) -> None:
        """Kill all followed processes; `run` returns when none is left."""
        self.ended = True
        for pid in self.known:
            kill(pid)
        signal.alarm(1)  # again, for one that was being looked at

    def run(self, first: int) -> None:
        """Follow until nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return
            if not os.WIFSTOPPED(status):
                self.pending.pop(pid, None)
                self.known.discard(pid)
                if pid == first:
                    self.write(f"{pid} +++ exited with {os.waitstatus_to_exitcode(status)} +++")
                continue
            try:
                self.stopped(pid, status, first)
            except ProcessLookupError:  # killed in the meantime
                continue

    def stopped(self, pid: int, status: int, first: int) -> None:
        """Look at a stop, and let the process go on."""
        number, event = os.WSTOPSIG(status), status >> 16
        if self.ended:
            kill(pid)  # started while the others were killed
            return
        if pid not in self.known:
            self.known.add(pid)
            ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS)
            if pid == first or number == signal.SIGSTOP:
                number = 0  # how it begins: with a signal that is not its own
        if number == signal.SIGTRAP | 0x80:
            self.call(pid)
            number = 0
        elif event:
            if event in EVENTS:
                child = ctypes.c_ulong()
                ptrace(0x4201, pid, 0, ctypes.addressof(child))
                self.write(f"{pid} {EVENTS[event]}() = {child.value}")
            number = 0
        ptrace(PTRACE_SYSCALL, pid, 0, number)

    def call(self, pid: int) -> None:
        """Record a system call: its arguments at its begin, and whether it succeeded at its end."""
        info = SyscallInfo()
        ptrace(PTRACE_GET_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == ENTRY:
            self.pending.pop(pid, None)
            known = CALLS.get(info.values[0])
            if known is not None:
                self.pending[pid] = self.described(pid, known, list(info.values[1:]))
        elif info.op == EXIT:
            text = self.pending.pop(pid, "")
            result = ctypes.c_int64(info.values[0]).value
            if text and result >= 0:
                self.write(f"{pid} {text} = {result}")

    def described(self, pid: int, known: tuple[str, int | None, int, int | None], values: list[int]) -> str:
        """Return a call as strace writes it."""
        name, folder, path, flags = known
        words = []
        if folder is not None:
            number = ctypes.c_int32(values[folder] & 0xFFFFFFFF).value
            place = f"/proc/{pid}/cwd" if number < 0 else f"/proc/{pid}/fd/{number}"
            try:
                words.append(f"{'AT_FDCWD' if number < 0 else number}<{os.readlink(place)}>")  # noqa: PTH115
            except OSError:
                words.append("AT_FDCWD" if number < 0 else str(number))
        words.append(f'"{quoted(memory(pid, values[path]))}"')
        if flags is not None:
            words.append(flag_names(values[flags]))
        return f"{name}({', '.join(words)})"

    def write(self, line: str) -> None:
        """Write a line once."""
        if line not in self.written:
            self.written.add(line)
            sys.stdout.write(line + "\n")


def flag_names(flags: int) -> str:
    """Return the flags of open that matter here, by name."""
    names = [("O_RDONLY", "O_WRONLY", "O_RDWR", "O_RDWR")[flags & 3]]
    for bit, name in ((0o100, "O_CREAT"), (0o1000, "O_TRUNC"), (O_DIRECTORY, "O_DIRECTORY"), (O_PATH, "O_PATH")):
        if flags & bit:
            names.append(name)
    return "|".join(names)


def own_environment() -> dict[bytes, bytes]:
    """Return the environment that this process was started with: Python adds to it (LC_CTYPE)."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
        entries = file.read().split(b"\0")
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


def main(seconds: int, command: list[str]) -> int:
    """Run the command under observation."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    child = os.fork()
    if child == 0:
        try:
            os.dup2(2, 1)
            os.setsid()
            ptrace(PTRACE_TRACEME, 0)
            os.execvpe(command[0], command, own_environment())  # noqa: S606
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode("utf-8", "replace"))
        os._exit(127)

    tracer = Tracer()
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: tracer.end())
    signal.alarm(min(seconds, SECONDS_LIMIT))
    tracer.write(f'{child} execve("{quoted(os.fsencode(shutil.which(command[0]) or command[0]))}") = 0')
    tracer.run(child)
    return 0


if __name__ == "__main__":
    if not CALLS:
        sys.exit(f"programs for {platform.machine()} cannot be observed here")
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
