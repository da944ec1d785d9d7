"""Ways to tamper with a release, a log or a ciphertext, each as a class with what must be said of it.

A class changes a copy of a clean case at a place that the seed draws; the clean twin is the same case without the
change. Three kinds of cases: `releases` go through admission up to the model, `logs` through the check of the log with
one held checkpoint, `ciphertexts` through decryption alone, where no signature over the file covers a fault.

OUT_OF_SCOPE lists what is accepted, each with its reason; a test holds that they still are.
"""

from tests.tampering import evidence, log, out_of_scope, package, proof  # they enter their classes
from tests.tampering.kit import (
    CLASSES,
    OUT_OF_SCOPE,
    Bench,
    attempt,
    clean_case,
    clean_faults,
    make_bench,
    rounds,
    tampered_case,
)

__all__ = [
    "CLASSES",
    "OUT_OF_SCOPE",
    "Bench",
    "attempt",
    "clean_case",
    "clean_faults",
    "evidence",
    "log",
    "make_bench",
    "out_of_scope",
    "package",
    "proof",
    "rounds",
    "tampered_case",
]
