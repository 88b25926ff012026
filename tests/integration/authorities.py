"""Authorities that sign certificates of a platform and of robots, and say so in PEM files."""

import datetime
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serving.tls import TlsFiles

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


@dataclass(kw_only=True)
class Authority:
    """One, with a folder for its files."""

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    root: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.root = self._sign(self.name, self.key, days=10, authority=True)
        self.path.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))

    @property
    def path(self) -> Path:
        """Its own certificate."""
        return self.folder / f"{self.name}.pem"

    def platform(self, file: str = "platform", *, days: float = 5) -> Pair:
        """A server's certificate for this machine; the files are replaced one after the other."""
        return self._pair(file, "volano", days)

    def robot(self, name: str, *, file: str = "", days: float = 5) -> Pair:
        """A robot's certificate, which ends in so many days, or ended."""
        return self._pair(file or name, name, days)

    def _pair(self, file: str, subject: str, days: float) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        pair = Pair(certificate=self.folder / f"{file}.pem", key=self.folder / f"{file}.key")
        _replace(pair.certificate, self._sign(subject, key, days=days).public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        _replace(
            pair.key,
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
        )
        return pair

    def _sign(
        self, subject: str, key: ec.EllipticCurvePrivateKey, *, days: float, authority: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * _DAY)
            .not_valid_after(now + days * _DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if authority:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                False,
            )
            signs = x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
            builder = builder.add_extension(signs, critical=True)
        else:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def files_of(pair: Pair, client_ca: Path | None = None) -> TlsFiles:
    """What a gateway is told."""
    return TlsFiles(certificate=pair.certificate, key=pair.key, client_ca=client_ca)


def _replace(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)
