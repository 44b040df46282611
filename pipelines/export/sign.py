"""Content credentials: exported variants with a signed C2PA manifest that says what made them.

The manifest repeats the mark of a picture: IPTC's digital source type, the tool and its recipe. It
is bound to the bytes of the file, so a later change is noticed. The package `c2pa-python` writes
it; nothing is sent, so there is no time stamp of an authority.
"""

import io
import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.marks import TRAINED, VOCABULARY, Mark, marked, read_mark
from nightrain.datasets.io.regular import read_regular

MOST_PEM_BYTES = 1 << 20
SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}  # it would add half of a picture's size
TRIAL_SIZE = (8, 8)


class PictureSigner:
    """Signs pictures that have a mark; several threads may call it."""

    def __init__(self, certificates: Path, key: Path) -> None:
        """Take a chain of certificates, that of the signer first, and its private key, as PEM.

        A trial picture is signed. Raises InvalidRequest if c2pa-python is not installed, and for
        files that cannot be read or are refused.
        """
        try:
            c2pa = import_module("c2pa")
        except ImportError as error:
            raise InvalidRequest(
                "--sign-with needs the package c2pa-python, which is not installed. Install it "
                "with `pip install 'nightrain[c2pa]'`, or export without signatures."
            ) from error
        self._c2pa: Any = c2pa
        chain = _pem(certificates, "--sign-with")
        algorithm, secret = _private_key(_pem(key, "--key"), key)
        try:
            info = c2pa.C2paSignerInfo(algorithm, chain, secret, None)
            self._signer = c2pa.Signer.from_info(info)
            self._context = c2pa.Context(c2pa.Settings.from_dict(SETTINGS))
            self.signed(_trial())
        except c2pa.C2paError as error:
            raise InvalidRequest(
                f"{certificates} with the key {key} cannot sign: {error!s:.200}. C2PA expects "
                "the signer's own certificate first, then those that issued it; it must be valid "
                "today, no authority's, with the key usage digitalSignature and an extended key "
                "usage such as emailProtection; and the key must be its own."
            ) from error

    def signed(self, data: bytes) -> bytes:
        """Add a signed manifest to a JPEG or PNG that has a mark; raises InvalidRequest without.

        The picture and its mark stay as they are. Two signatures of equal pictures differ.
        """
        mark = read_mark(data)
        if mark is None:
            raise InvalidRequest("a picture without a mark cannot be signed")
        kind, out = "image/jpeg" if data.startswith(b"\xff\xd8") else "image/png", io.BytesIO()
        with self._c2pa.Builder(json.dumps(_manifest(mark, kind)), self._context) as builder:
            builder.sign(self._signer, kind, io.BytesIO(data), out)
        return out.getvalue()

    def signing(self, data: bytes, encode: Callable[[], bytes] | None) -> Callable[[], bytes]:
        """Function that signs what `encode` makes, or `data` itself."""
        return lambda: self.signed(data if encode is None else encode())


def _manifest(mark: Mark, kind: str) -> dict[str, Any]:
    action = {
        "action": "c2pa.created",
        "digitalSourceType": VOCABULARY + mark.source_type,
        "softwareAgent": {"name": mark.tool or "nightrain"},
    }
    return {
        "claim_generator_info": [{"name": "nightrain", "version": version("nightrain")}],
        "format": kind,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }


def _pem(path: Path, option: str) -> bytes:
    data = read_regular(path, MOST_PEM_BYTES)
    if b"-----BEGIN " not in data:
        raise InvalidRequest(f"{option} {path} is not a PEM file; it has no line -----BEGIN ...")
    return data


def _private_key(pem: bytes, path: Path) -> tuple[bytes, bytes]:
    """Algorithm of C2PA and the key in PKCS #8; raises InvalidRequest."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise InvalidRequest(f"--key {path} has a passphrase; give a key without one.") from error
    except ValueError as error:
        raise InvalidRequest(f"--key {path} is not a readable private key in PEM.") from error
    found = type(key).__name__
    if isinstance(key, ec.EllipticCurvePrivateKey):
        found = key.curve.name
        algorithm = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}.get(found)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = b"ed25519"
    else:
        algorithm = b"ps256" if isinstance(key, rsa.RSAPrivateKey) else None
    if algorithm is None:
        raise InvalidRequest(
            f"--key {path} is a key of kind {found}, which C2PA does not know. Expected one on "
            "the curve P-256, P-384 or P-521, Ed25519 or RSA."
        )
    return algorithm, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _trial() -> bytes:
    import numpy as np

    from nightrain.datasets.io.images import encode_jpeg

    picture = np.zeros((*TRIAL_SIZE, 3), np.uint8)
    return marked(encode_jpeg(picture), Mark(TRAINED, "nightrain"))
