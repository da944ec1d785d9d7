"""What the training engine's kernels can take: numbers that training obeys and advice counts with.

They stand in this room because both steps may import it and it imports nothing heavy: `sdk advise` answers without
torch.
"""

from __future__ import annotations

# Flash attention takes heads of up to this size; wider ones go through torch's own attention row by row.
FLASH_HEAD_SIZE = 256
FLASH_CAPABILITY = (8, 0)  # Ampere; a GPU before it has no flash attention
# The loss over a frozen head is computed for so many logits at once: 256 MiB in float32. More gained no speed.
LOGITS_PER_CHUNK = 2**26
PAGED_NUMBERS = 100_000  # bitsandbytes (0.50) pages the moments of a matrix of at least so many numbers
# Below this hidden_size the host launches kernels more slowly than a GPU runs them: layers are recorded as CUDA graphs.
GRAPHED_WIDTH = 2048
GRAPHS_SPARE = 2**31  # bytes beside a pass's: the CUDA context, and what the driver holds for graphs
# Whether advice asks for that. `tests/benchmarks/resume.py --graphs` has to show the same bytes on a GPU before.
GRAPHS_BY_DEFAULT = False
