"""Signed exports: content credentials that verify, on variants alone, and mark and pixels kept."""

import io
import json
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.io.marks import VOCABULARY, read_mark
from nightrain.pipelines.export import run
from nightrain.pipelines.export.job import ExportDatasetJob
from nightrain.pipelines.export.run import export_dataset
from nightrain.pipelines.export.sign import PictureSigner
from nightrain.pipelines.runs.stop import Stop
from support.loader import frame_rows, make_root
from support.synthetic import all_rows


@pytest.fixture
def c2pa() -> Any:
    return pytest.importorskip("c2pa")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("signed"))


class Credentials(NamedTuple):
    """PEM files of a signer."""

    chain: Path
    key: Path


def credentials(folder: Path, kind: str = "ec", num_days: int = 30) -> Credentials:
    """A key and a certificate of an authority that is made for the test."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder.mkdir(parents=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    key: Any = {
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    }[kind]()
    names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, n)]) for n in "AS"]
    now = datetime.now(UTC)

    def certificate(subject: int, public: Any, is_authority: bool) -> bytes:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        ) | {"encipher_only": False, "decipher_only": False, "crl_sign": is_authority}
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[subject])
            .issuer_name(names[0])
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + timedelta(days=num_days))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_authority, key_cert_sign=is_authority, **usage
                ),
                critical=True,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False
            )
        )
        if not is_authority:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=True)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    found = Credentials(folder / "chain.pem", folder / "key.pem")
    own = certificate(1, key.public_key(), is_authority=False)
    found.chain.write_bytes(own + certificate(0, authority.public_key(), is_authority=True))
    found.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8
            if kind == "ed25519"
            else serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return found


def export(root: Path, out: Path, signer: Credentials, to: str = "folders") -> None:
    job = {"dataset": root, "to": to, "out": out, "sign_with": signer.chain, "key": signer.key}
    export_dataset(ExportDatasetJob.model_validate(job), Stop())


def manifest_of(c2pa: Any, data: bytes) -> dict[str, Any]:
    with c2pa.Reader("image/jpeg", io.BytesIO(data)) as reader:
        return json.loads(reader.json())


def test_variants_are_signed_and_keep_pixels_and_mark(
    c2pa: Any, root: Path, tmp_path: Path
) -> None:
    signer, out = credentials(tmp_path / "pem"), tmp_path / "out"
    export(root, out, signer)
    variants = all_rows(root, "variants")
    for key, row in variants.items():
        data = (out / row["condition"] / f"{key}.jpg").read_bytes()
        stored = row["image"]["bytes"]
        found = manifest_of(c2pa, data)
        mark = read_mark(stored)
        assert found["validation_state"] == "Valid" and mark is not None
        manifest = found["manifests"][found["active_manifest"]]
        (generator,) = manifest["claim_generator_info"]
        assert generator["name"] == "nightrain" and generator["version"]
        (action,) = manifest["assertions"][0]["data"]["actions"]
        assert action["digitalSourceType"] == VOCABULARY + mark.source_type
        assert action["softwareAgent"]["name"] == mark.tool
        assert read_mark(data) == mark
        assert np.array_equal(decode_jpeg(data), decode_jpeg(stored))
        assert len(data) - len(stored) < 5_000
    changed = bytearray(next(out.glob("night/*.jpg")).read_bytes())
    changed[-100] ^= 1
    codes = [one["code"] for one in manifest_of(c2pa, bytes(changed))["validation_status"]]
    assert "assertion.dataHash.mismatch" in codes
    for key, row in frame_rows(root).items():  # recordings are not generated
        assert (out / f"clear/{key}.jpg").read_bytes() == row["image"]["bytes"]
    secret = signer.key.read_bytes().split(b"-----")[2].strip()[:40]
    assert not [path for path in out.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert "key.pem" not in (out / "export.json").read_text()


def test_members_of_tar_files_are_signed(c2pa: Any, root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "out", credentials(tmp_path / "pem"), "webdataset")
    variants = all_rows(root, "variants")
    with tarfile.open(tmp_path / "out/train-000000.tar") as tar:
        for key in variants:
            file = tar.extractfile(f"{key}.jpg")
            assert file is not None
            assert manifest_of(c2pa, file.read())["validation_state"] == "Valid"


@pytest.mark.parametrize("kind", ["p384", "rsa", "ed25519"])
def test_other_kinds_of_keys_sign(c2pa: Any, root: Path, tmp_path: Path, kind: str) -> None:
    signer = PictureSigner(*credentials(tmp_path / "pem", kind))
    data = next(iter(all_rows(root, "variants").values()))["image"]["bytes"]
    assert manifest_of(c2pa, signer.signed(data))["validation_state"] == "Valid"


def test_what_cannot_sign_is_refused_before_anything_is_written(
    c2pa: Any, root: Path, tmp_path: Path
) -> None:
    good, other = credentials(tmp_path / "a"), credentials(tmp_path / "b")
    expired = credentials(tmp_path / "c", num_days=-1)
    unknown = credentials(tmp_path / "d", "k1")
    text = tmp_path / "notes.txt"
    text.write_text("no certificate")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    for signer, words in (
        (Credentials(good.chain, other.key), "cannot sign"),
        (expired, "cannot sign: .*not valid at time"),
        (unknown, "which C2PA does not know"),
        (Credentials(text, good.key), "--sign-with .* is not a PEM file"),
        (Credentials(good.key, good.key), "cannot sign"),
        (Credentials(good.chain, damaged), "not a readable private key"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            export(root, tmp_path / "out", signer)
        assert not (tmp_path / "out").exists()


def test_a_variant_without_a_mark_is_not_signed(
    c2pa: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "read_mark", lambda data: None)
    with pytest.raises(InvalidRequest, match=r"has no mark .* Generate it anew"):
        export(root, tmp_path / "out", credentials(tmp_path / "pem"))
    assert not list(tmp_path.glob("out/*/*.jpg"))


def test_without_the_package_the_extra_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    (tmp_path / "a.pem").touch()
    signer = Credentials(tmp_path / "a.pem", tmp_path / "a.pem")
    with pytest.raises(InvalidRequest, match=r"pip install 'nightrain\[c2pa\]'"):
        export(root, tmp_path / "out", signer)
    assert not (tmp_path / "out").exists()


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    job = {"dataset": tmp_path, "to": "folders", "out": tmp_path / "out", "key": tmp_path}
    with pytest.raises(ValidationError, match="give both or none"):
        ExportDatasetJob.model_validate(job)
