"""bitsandbytes without torch's compiler, which takes half a second of every start and is then not used.

PEFT imports bitsandbytes whatever the weights are, and bitsandbytes has two functions compiled while it is imported,
which imports the compiler. They are its stand-ins for devices without kernels of its own; CPUs and CUDA have them. So
torch is told by its own variable to compile nothing meanwhile. Before and afterwards it compiles as ever.

What loads, adapts or trains models imports this before PEFT.
"""

import os

_SWITCH = "TORCHDYNAMO_DISABLE"
_before = os.environ.get(_SWITCH)
os.environ[_SWITCH] = "1"
try:
    import bitsandbytes  # noqa: F401
finally:
    if _before is None:
        del os.environ[_SWITCH]
    else:
        os.environ[_SWITCH] = _before
