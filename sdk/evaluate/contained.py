"""Run one program that nobody trusts, once this process can do nothing but reckon. Started by sdk/evaluate/sandbox.py.

A model wrote it, or it is a domain's own metric. This is a script of its own, which imports nothing of sdk: it is told
a program on standard input, and in this order

1. dies with the process that started it, dumps no core and is limited in CPU seconds, memory and files
2. leaves the user's capabilities, the network and the mounts behind, in namespaces of its own, where the kernel has any
3. may read Python's own library and no other file, and write none: by Landlock, or where the kernel has none by 4
4. may call the few functions of the kernel that reckoning takes, by seccomp: no socket, process, signal or thread

and then runs the program, and calls the function of it that was named with each list of arguments, if one was. Only
where that ends without an error does it write the word that it was told, which the program does not get as a variable,
to where its standard output was, and behind it what the function returned. Whoever can do 4 cannot undo any of it.
"""

# What programs import is imported here: where no file can be opened any more, what is not here is not there.
import bisect  # noqa: F401
import cmath  # noqa: F401
import collections  # noqa: F401
import copy  # noqa: F401
import ctypes
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import decimal  # noqa: F401
import enum  # noqa: F401
import fractions  # noqa: F401
import functools  # noqa: F401
import hashlib  # noqa: F401
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import operator  # noqa: F401
import os
import platform
import random
import re  # noqa: F401
import resource
import statistics  # noqa: F401
import string  # noqa: F401
import struct
import sys
import textwrap  # noqa: F401
import time  # noqa: F401
import typing
import unicodedata  # noqa: F401

# The kernel's functions that a program may call -> their numbers on x86_64 and on aarch64; None: it has no such one.
CALLS = {
    "access": (21, None), "brk": (12, 214), "clock_getres": (229, 114), "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115), "close": (3, 57), "dup": (32, 23), "exit": (60, 93), "exit_group": (231, 94),
    "faccessat": (269, 48), "faccessat2": (439, 439), "fstat": (5, 80), "futex": (202, 98), "getcwd": (79, 17),
    "getdents64": (217, 61), "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176), "getpid": (39, 172),
    "getppid": (110, 173), "getrandom": (318, 278), "getrusage": (98, 165), "gettid": (186, 178),
    "gettimeofday": (96, 169), "getuid": (102, 174), "lseek": (8, 62), "lstat": (6, None), "madvise": (28, 233),
    "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "munmap": (11, 215), "nanosleep": (35, 101),
    "newfstatat": (262, 79), "pread64": (17, 67), "read": (0, 63), "readlink": (89, None), "readlinkat": (267, 78),
    "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124), "sigaltstack": (131, 132), "stat": (4, None), "statx": (332, 291), "sysinfo": (99, 179),
    "times": (100, 153), "uname": (63, 160), "write": (1, 64),
}  # fmt: skip
OPENING = {"open": (2, None), "openat": (257, 56)}  # those that Landlock watches over
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # -> column above, and what seccomp calls it
NAMESPACES = 0x10000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x00020000  # user, network, IPC, host name, mounts
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
KILL = 9
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3
X32 = 0x40000000  # from here on, numbers of x86_64 are those of another convention
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of the filter's little language
ALLOW, REFUSE, END = 0x7FFF0000, 0x00050001, 0x80000000  # REFUSE: "operation not permitted"

kernel = ctypes.CDLL(None, use_errno=True)


class Instruction(ctypes.Structure):
    """One step of a seccomp filter."""

    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class Filter(ctypes.Structure):
    """A seccomp filter, as the kernel takes it."""

    _fields_ = (("count", ctypes.c_uint16), ("steps", ctypes.POINTER(Instruction)))


def limit(seconds: int, memory: int) -> None:
    """Die with the parent, dump nothing, and take no more than so many CPU seconds and bytes of memory."""
    parent = os.getppid()
    kernel.prctl(PR_SET_PDEATHSIG, KILL, 0, 0, 0)
    kernel.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:  # it has gone already
        os._exit(1)
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(what, (most, most))


def restrict_files() -> bool:
    """Allow no file but those of Python's library to be read. False where the kernel has no Landlock."""
    version = kernel.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    files = (1 << {1: 13, 2: 14}.get(version, 15 if version < 5 else 16)) - 1
    network, scopes = 3 if version >= 4 else 0, 3 if version >= 6 else 0
    rules = struct.pack("<QQQ", files, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = kernel.syscall(LANDLOCK_CREATE, rules, len(rules), 0)
    if ruleset < 0:
        return False
    library = os.open(os.path.dirname(os.__file__), os.O_PATH | os.O_CLOEXEC)
    kernel.syscall(LANDLOCK_ADD, ruleset, 1, struct.pack("<Qi", READ_FILE | READ_DIR, library), 0)
    os.close(library)
    done = kernel.syscall(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return int(done) == 0


def restrict_calls(opens_files: bool) -> bool:
    """Allow the calls above only; an x86_64 process that calls by another convention is ended. False: no seccomp."""
    if platform.machine() not in MACHINES:
        return False
    column, name = MACHINES[platform.machine()]
    allowed = {**CALLS, **(OPENING if opens_files else {})}.values()
    permitted = sorted(number for each in allowed if (number := each[column]) is not None)
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, name), (RETURN, 0, 0, END), (LOAD, 0, 0, 0)]
    steps += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, END)]
    for place, number in enumerate(permitted):
        steps.append((EQUAL, len(permitted) - place, 0, number))
    steps += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    written = (Instruction * len(steps))(*(Instruction(*step) for step in steps))
    return int(kernel.prctl(PR_SET_SECCOMP, 2, ctypes.byref(Filter(len(steps), written)), 0, 0)) == 0


def contain(seconds: int, memory: int) -> int:
    """Do steps 1 to 4. Returns where the word is written to; ends this process where it cannot be contained."""
    answer = os.dup(1)
    empty = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(empty, number)
    os.close(empty)
    limit(seconds, memory)
    kernel.unshare(NAMESPACES)  # where that is not allowed, 3 and 4 still are
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if not restrict_calls(restrict_files()):
        os.write(answer, b"not contained")
        os._exit(1)
    return answer


def main() -> None:
    """Read a program with its limits, contain this process and run it."""
    asked = json.loads(sys.stdin.buffer.read())
    random.seed(0)
    answer = contain(asked["seconds"], asked["memory"])
    names: dict[str, typing.Any] = {"__name__": "program"}
    exec(asked["program"], names)  # noqa: S102 - what all of the above is for
    returned = [float(names[asked["function"]](*arguments)) for arguments in asked.get("calls", ())]
    os.write(answer, (asked["word"] + json.dumps(returned)).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
