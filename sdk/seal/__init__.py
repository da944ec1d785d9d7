"""Seal: an adapter becomes a package that anybody can check and only the holder of a key can read.

package/
  adapter_config.json                  PEFT's configuration
  tokenizer.json …                     tokenizer and chat template of the base
  behaviour.json                       what adapted model and base answer to probes; earlier versions wrote none
  adapter_model.safetensors.floe       FLOE under a data key of its own (`.safetensors` where a policy allows plain)
  bom.json                             CycloneDX 1.6 ML-BOM
  manifest.json                        canonical JSON; its SHA-256 is the package's identity
  model.sig                            OpenSSF Model Signing 1.0 over all of these
provenance.dsse.json                   SLSA provenance v1 about the manifest

`open_package` makes these checks, in this order, before anything of a package is used:

1. The folder is no link and holds the files above and nothing else: no link, folder or special file, no `.git*`, no
   name that another file system or a reader would take for one of them.
2. model.sig is a signature of OpenSSF Model Signing 1.0 by the given key.
3. It lists exactly the files that are there, with their SHA-256s; every file is read once. It ignores none but itself
   and has the one form that `seal` writes.
4. The SHA-256 of manifest.json is the identity that was asked for.
5. manifest.json is canonical, has the fields of a manifest and no others, names the key that signed, and agrees with
   the record of sealing where there is one.
6. It lists the files with the sizes and SHA-256s that they have.
7. bom.json is the bill of materials of this package and these weights.

`unseal` then decrypts the weights in memory, bound to package, path and version, and asks for their SHA-256. Whether
the signer, the approvals and the version count is for who loads; so is which configuration PEFT may see (sdk.model).
"""

from sdk.crypto.floe import wipe
from sdk.files.store import PACKAGE, PROVENANCE
from sdk.seal.manifest import (
    ADAPTER,
    BEHAVIOUR,
    BOM,
    CONFIG,
    MANIFEST,
    SEALED_WEIGHTS,
    SIGNATURE,
    TOKENIZER,
    WEIGHTS,
    DescribedFacts,
    Manifest,
    key_context,
    lock_digest,
)
from sdk.seal.package import (
    Recorded,
    open_package,
    read_adapter,
    read_behaviour,
    read_template,
    seal,
    signed_sizes,
    unseal,
)
from sdk.seal.provenance import check_provenance
from sdk.seal.tensors import Tensor

__all__ = [
    "ADAPTER",
    "BEHAVIOUR",
    "BOM",
    "CONFIG",
    "MANIFEST",
    "PACKAGE",
    "PROVENANCE",
    "SEALED_WEIGHTS",
    "SIGNATURE",
    "TOKENIZER",
    "WEIGHTS",
    "DescribedFacts",
    "Manifest",
    "Recorded",
    "Tensor",
    "check_provenance",
    "key_context",
    "lock_digest",
    "open_package",
    "read_adapter",
    "read_behaviour",
    "read_template",
    "seal",
    "signed_sizes",
    "unseal",
    "wipe",
]
