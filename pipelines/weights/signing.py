"""Signatures in minisign's format: who made a bundle, checked against a key that is trusted.

Knows keys and signatures; `minisign -G` makes the keys.
"""

from collections.abc import Callable
from pathlib import Path

import minisign

from pipelines.weights.manifest import WeightsError


def signer(key: Path, ask: Callable[[], str]) -> Callable[[bytes], bytes]:
    """What signs with a secret key's file; `ask` for its password if it has one.

    Raises WeightsError, and so does what it returns.
    """
    try:
        secret = minisign.SecretKey.from_file(key)
        if secret.is_encrypted():
            secret.decrypt(ask())
    except (OSError, minisign.Error) as error:
        raise WeightsError(f"cannot sign with {key}: {error}") from error

    def sign(data: bytes) -> bytes:
        with secret:
            return bytes(secret.sign(data, trusted_comment="a darkroom bundle")) + b"\n"

    return sign


def require_signature(data: bytes, signature: bytes | None, key: str) -> None:
    """Raise WeightsError unless data was signed with the trusted key: a file, or its one line."""
    if signature is None:
        raise WeightsError("the bundle is not signed")
    try:
        file = Path(key)
        public = (
            minisign.PublicKey.from_file(file)
            if file.is_file()
            else minisign.PublicKey.from_base64(key)
        )
    except (OSError, minisign.Error) as error:
        raise WeightsError(f"{key} is not a public key of minisign's: {error}") from error
    try:
        public.verify(data, minisign.Signature.from_bytes(signature))
    except (minisign.Error, ValueError) as error:
        raise WeightsError(f"the bundle is not signed with {key}: {error}") from error
