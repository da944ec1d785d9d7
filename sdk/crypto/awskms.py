"""`awskms:KEY`: keys in the AWS Key Management Service. KEY is a key id, `alias/NAME`, or the ARN of either.

Credentials, region and endpoint come from the usual AWS configuration (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_KMS,
instance roles …); the region in an ARN comes first. Allowed must be kms:GetPublicKey and kms:Sign for a signing key,
kms:DescribeKey, kms:Encrypt and kms:Decrypt for a wrapping key.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from cryptography.hazmat.primitives import serialization

from sdk.crypto.encoding import b64
from sdk.crypto.remote import RemoteSigner, RemoteWrapper, does_not_open, wrapped_bytes, wrong_kind
from sdk.crypto.signing import UNREADABLE
from sdk.errors import InvalidInput, MissingExtra, StepFailed

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as Unreachable
except ModuleNotFoundError:
    raise MissingExtra("boto3 is not installed; run `pip install domain-adaptation-sdk[aws]`.") from None

MAX_MESSAGE_BYTES = 4096  # of Sign with the message type RAW
# KMS answers within a second; retries are the SDK's standard ones (three attempts)
CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard"})
SIGNING = {"ecdsa-p256": "ECDSA_SHA_256", "ed25519": "ED25519_SHA_512"}
# error code -> what to do
TO_DO = {
    "NotFoundException": "there is no such key; look at the name and the region",
    "DisabledException": "the key is disabled; enable it or name another",
    "KMSInvalidStateException": "the key waits for its deletion or for its material; cancel that or name another",
    "InvalidKeyUsageException": "the key is made for another purpose; name another",
    "UnsupportedOperationException": "the key is made for another purpose; name another",
    "InvalidArnException": "the ARN is malformed, or of another region than the one configured",
    "ValidationException": "KMS does not take this name or request; look at the name",
    # also for a wrapped key that names a key which does not exist
    "AccessDeniedException": "access is denied; have the key policy allow it, and look whether this key wrapped it",
    "UnrecognizedClientException": "the credentials are not valid; renew them",
    "InvalidSignatureException": "the credentials are not valid; renew them",
    "ExpiredTokenException": "the credentials have expired; renew them",
}


def _client(uri: str) -> tuple[Any, str]:
    key = uri.partition(":")[2]
    if not re.fullmatch(r"[A-Za-z0-9:/_-]{1,2048}", key):
        raise InvalidInput(f"Key {uri} is not named awskms:ID, awskms:alias/NAME or awskms:ARN.")
    region = re.match(r"arn:[a-z-]+:kms:([a-z0-9-]+):", key)
    session = _ask(uri, boto3.session.Session)  # one for all threads is not safe, nor does it see new credentials
    return _ask(uri, lambda: session.client("kms", region_name=region[1] if region else None, config=CONFIG)), key


def _ask(uri: str, call: Callable[[], Any]) -> Any:
    """Return what the call does, or raise our error: InvalidInput for what a person must mend, else StepFailed."""
    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("InvalidCiphertextException", "IncorrectKeyException"):
            raise does_not_open(uri) from None
        if code in TO_DO:
            raise InvalidInput(f"Key {uri}: {TO_DO[code]} ({code}).") from None
        raise StepFailed(f"Key {uri}: AWS KMS failed ({code}); try again later.") from None
    except (Unreachable, HTTPClientError) as error:
        raise StepFailed(f"Key {uri}: AWS KMS cannot be reached ({type(error).__name__}); try again later.") from None
    except (KeyError, TypeError, AttributeError):  # the two last from botocore, on JSON of another shape
        raise StepFailed(f"Key {uri}: the answer is not one of AWS KMS; look at the endpoint.") from None
    except (BotoCoreError, ValueError) as error:  # no region, no credentials, a malformed endpoint …
        raise InvalidInput(
            f"Key {uri}: AWS KMS cannot be asked ({type(error).__name__}); look at region, credentials and endpoint."
        ) from None


def open_signer(uri: str) -> RemoteSigner:
    """Open a key of the specification ECC_NIST_P256 or ECC_NIST_EDWARDS25519."""
    client, name = _client(uri)
    # the key's id, since an alias may point elsewhere tomorrow
    key, public = _ask(uri, lambda: itemgetter("KeyId", "PublicKey")(client.get_public_key(KeyId=name)))

    def sign(data: bytes) -> bytes:
        message, kind = data, "RAW"
        if not 0 < len(data) <= MAX_MESSAGE_BYTES:
            if signer.algorithm == "ed25519":  # its digest form is Ed25519ph, another signature
                raise InvalidInput(
                    f"Key {uri} signs messages of 1 to {MAX_MESSAGE_BYTES} bytes; take an ECC_NIST_P256 key for others."
                )
            message, kind = hashlib.sha256(data).digest(), "DIGEST"
        how = {"MessageType": kind, "SigningAlgorithm": SIGNING[signer.algorithm]}
        return bytes(_ask(uri, lambda: client.sign(KeyId=key, Message=message, **how)["Signature"]))

    signer = RemoteSigner(uri, _pem(uri, public), sign)
    return signer


def _pem(uri: str, der: bytes) -> str:
    try:
        key = serialization.load_der_public_key(der)
    except UNREADABLE:
        raise StepFailed(f"Key {uri}: AWS KMS answered with a public key that cannot be read.") from None
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def open_wrapper(uri: str) -> RemoteWrapper:
    """Open a symmetric key. The context is KMS's EncryptionContext, which CloudTrail shows in plain."""
    client, name = _client(uri)
    key, spec = _ask(uri, lambda: itemgetter("Arn", "KeySpec")(client.describe_key(KeyId=name)["KeyMetadata"]))
    if spec != "SYMMETRIC_DEFAULT":  # whose usage is always ENCRYPT_DECRYPT
        raise wrong_kind(uri, "wrap keys (SYMMETRIC_DEFAULT)")

    def encrypt(value: bytes, context: Mapping[str, str]) -> str:
        request = {"KeyId": key, "Plaintext": value, "EncryptionContext": dict(context)}
        return b64(_ask(uri, lambda: client.encrypt(**request)["CiphertextBlob"]))

    def decrypt(wrapped: str, context: Mapping[str, str]) -> bytes:
        blob = wrapped_bytes(wrapped, uri)
        if not 0 < len(blob) <= 6144:  # CiphertextBlob's length
            raise does_not_open(uri)
        request = {"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": dict(context)}
        return bytes(_ask(uri, lambda: client.decrypt(**request)["Plaintext"]))

    return RemoteWrapper(key, encrypt, decrypt)
