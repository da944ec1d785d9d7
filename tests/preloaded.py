"""What the fork server of `tests.warm` imports before it forks: all that a project's steps use, and then no garbage.

Libraries that are imported within a function are named here too; and what was imported is not searched for garbage in
each child, which accelerate would do with every training.
"""

import gc

import matplotlib.backends.backend_agg
import peft
import torch
import transformers.models.llama.modeling_llama
import trl

import sdk.evaluate
import sdk.measure.pilot
import sdk.registry.sender
import sdk.scrub
import sdk.train.one_pass
import sdk.train.worker
from sdk import Project

__all__ = ["Project", "matplotlib", "peft", "sdk", "torch", "transformers", "trl"]

torch.set_num_threads(1)
gc.collect()
gc.freeze()
