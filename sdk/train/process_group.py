"""The processes that train one adapter together: which of them this is, and how they find each other."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

# Between two collective operations the slowest process may read and quantize the whole base.
_PATIENCE = timedelta(hours=1)


def join() -> None:
    """Meet the other processes, as RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT say; torchrun sets them.

    Each takes the GPU with its local rank; without GPUs they are processes on the CPU.
    """
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo", timeout=_PATIENCE)


def leave() -> None:
    dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """Return how many of them share this host."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main() -> bool:
    """Tell whether this process writes what the run leaves behind."""
    return rank() == 0


def seed_apart(seed: int) -> None:
    """Let each process draw dropout and noise of its own; the first goes on as if it were alone."""
    if not is_main():
        random.seed(seed + rank())
        np.random.seed((seed + rank()) % 2**32)
        torch.manual_seed(seed + rank())


def broadcast(data: bytes) -> bytes:
    """Return the same bytes in every process: those of the first one that has some."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # The lowest rank that has some; one that has none names a rank that does not exist.
    source = torch.tensor([rank() if data else world_size()], device=device)
    dist.all_reduce(source, dist.ReduceOp.MIN)
    size = torch.tensor([len(data)], device=device)
    dist.broadcast(size, int(source))
    if rank() == int(source):
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    else:
        content = torch.empty(int(size), dtype=torch.uint8, device=device)
    dist.broadcast(content, int(source))
    return content.cpu().numpy().tobytes()


@contextmanager
def in_turn() -> Iterator[None]:
    """Let the processes of a host do it one after the other."""
    place, count = int(os.environ.get("LOCAL_RANK", "0")), processes_here()
    # Every process meets the others `count` times: as often as its place before its turn, the rest after it.
    for _ in range(place):
        _meet()
    yield
    for _ in range(place, count):
        _meet()


def _meet() -> None:
    if dist.is_initialized():
        dist.barrier()
