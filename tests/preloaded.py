"""What the fork server of `tests.warm` imports before it forks: all that a project's steps use, and then no garbage.

Libraries that are imported within a function are named here too; and what was imported is not searched for garbage in
each child, which accelerate would do with every training.
"""

import errno
import gc
import multiprocessing.reduction
import socket

import matplotlib.backends.backend_agg
import peft
import torch
import transformers.models.llama.modeling_llama
import trl

import sdk.evaluate
import sdk.measure.trial
import sdk.registry.sender
import sdk.scrub.step
import sdk.train.one_pass
import sdk.train.worker
from sdk import Project

__all__ = ["Project", "matplotlib", "peft", "sdk", "torch", "transformers", "trl"]

_receive = multiprocessing.reduction.recvfds


def _receive_if_there(asked: socket.socket, count: int) -> list[int]:
    """The server lives on where who asked was killed while asking, as tests do: it passes over this very error."""
    try:
        return _receive(asked, count)
    except EOFError:
        raise ConnectionAbortedError(errno.ECONNABORTED, "who asked is gone") from None


multiprocessing.reduction.recvfds = _receive_if_there
torch.set_num_threads(1)
gc.collect()
gc.freeze()
