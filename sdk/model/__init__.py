"""Base models in 16, 8 or 4 bits, their chat text, their adapters and generation.

What is named here needs no weights: whoever makes or checks a project imports neither peft nor bitsandbytes, which take
several seconds. What loads, adapts and asks models is imported from its module.

The libraries read these variables when they are first imported, so they are set before that, here and nowhere else.
"""

import logging
import os
import warnings

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Memory that is reserved then stays within a few percent of what is in use, which a prediction can be made for; both
# names, because torch renamed it in 2.9.
if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
    os.environ["PYTORCH_ALLOC_CONF"] = os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
# Waiting threads of libgomp spin and starve other work: two trainings at once on two cores
# took 4 times as long as one. With few spins they take 2.2 times as long, and one alone loses 4 %.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# What they would print on a user's terminal:
# bitsandbytes warns in every layer of every step that int8 products cast their inputs, which is what they are for, and
# when it is imported that a kernel for one row in 4 bits is not installed, which would be fetched from the hub;
# Liger warns at the first forward pass of kernels for other makers' devices, which it tries to import.
for _library in ("bitsandbytes", "liger_kernel"):
    logging.getLogger(_library).setLevel(logging.ERROR)
# peft asks transformers by a name that the latter has renamed.
warnings.filterwarnings("ignore", message="Position ids are not supported for parameter efficient tuning")
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

from sdk.data.base_folder import Base, PinnedBase, base_name  # noqa: E402
from sdk.model.base_model import (  # noqa: E402
    base_digest,
    check_base,
    fetch_base,
    keep_base_open,
    open_base,
    pin_base,
    resolve_base,
)
from sdk.model.base_tokenizer import load_chat, load_tokenizer  # noqa: E402
from sdk.model.chat import ANSWERS, Chat, Encoded, Learned, cut_texts, encode_rows, learned  # noqa: E402
from sdk.model.chosen_template import settle_chat  # noqa: E402

__all__ = [
    "ANSWERS",
    "Base",
    "Chat",
    "Encoded",
    "Learned",
    "PinnedBase",
    "base_digest",
    "base_name",
    "check_base",
    "cut_texts",
    "encode_rows",
    "fetch_base",
    "keep_base_open",
    "learned",
    "load_chat",
    "load_tokenizer",
    "open_base",
    "pin_base",
    "resolve_base",
    "settle_chat",
]
