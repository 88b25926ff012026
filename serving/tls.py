"""TLS of every port: one certificate of the platform, and where clients need one, the authority that signs theirs.

TLS 1.3 and no resumed sessions, so that each connection shows a certificate that is good now. New files are taken up by
connections to come while those that are open go on; a pair that does not fit together yet is not taken up at all.
A client's certificate names its robot as the subject's common name.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID

from volano.errors import Code, ConfigError, VolanoError

_LOG = logging.getLogger(__name__)
HANDSHAKE_S = 10.0
"""Longest that a client may take to agree on TLS."""
_LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files."""

    certificate: Path
    """The platform's, with what lies between it and the root."""
    key: Path
    client_ca: Path | None = None
    """Whoever connects has to show a certificate that one of these signed."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a client showed, already verified."""

    name: str
    """The robot's."""
    until: float
    """Unix time in seconds."""


class Tls:
    """Settings for new connections; `reload` takes up files that changed."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises ConfigError(E-CONFIG-003) for files that cannot be used."""
        self._files = files
        self._seen = self._stamp()
        self._inner, self._pems, self.until = _load(files)
        self.context = self._inner
        """What a listening socket keeps."""
        self.context.sni_callback = self._choose

    @property
    def wants_certificates(self) -> bool:
        """Whether a client has to show one."""
        return self._files.client_ca is not None

    def reload(self) -> bool:
        """Take up files that changed; whether they did. Raises like the constructor, and changes nothing then."""
        seen = self._stamp()
        if seen == self._seen:
            return False
        self._inner, self._pems, self.until = _load(self._files)
        self._seen = seen
        return True

    async def follow(self) -> None:
        """Take up files that change, until cancelled; robots that are connected notice nothing."""
        said = ""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if await asyncio.to_thread(self.reload):
                    _LOG.info("took up a new certificate")
                said = ""
            except VolanoError as error:
                if str(error) != said:  # once, not once per look
                    _LOG.error("the certificate of before is kept: %s", error)
                said = str(error)

    def for_grpc(self) -> Any:
        """The same for a gRPC server."""
        return grpc.dynamic_ssl_server_credentials(
            self._grpc_configuration(), self._grpc_configuration, self.wants_certificates
        )

    def _grpc_configuration(self) -> Any:
        certificate, key, authority = self._pems
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

    def _choose(self, connection: ssl.SSLObject, name: str | None, before: ssl.SSLContext) -> None:
        """For each handshake, whether it names a host or not: what was loaded last."""
        del name, before
        connection.context = self._inner

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._files.certificate, self._files.key, self._files.client_ca)
        try:
            found = [path.stat() for path in files if path is not None]
        except OSError as error:
            raise _unusable(f"{error.filename}: {error.strerror}") from error
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


def shown_in(found: Mapping[str, Any] | None) -> Certificate | None:
    """A client's certificate, as `SSLObject.getpeercert` tells it; None where there is none."""
    if not found:
        return None
    names = [value for part in found.get("subject", ()) for kind, value in part if kind == "commonName"]
    until = float(ssl.cert_time_to_seconds(found["notAfter"]))
    return Certificate(name=names[0] if len(names) == 1 else "", until=until)


def shown_to_grpc(found: Mapping[str, Any]) -> Certificate | None:
    """The same from gRPC's authentication context, whose values are lists of bytes."""
    if not (pem := found.get("x509_pem_cert")):
        return None
    certificate = x509.load_pem_x509_certificate(pem[0])
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    return Certificate(name=name, until=certificate.not_valid_after_utc.timestamp())


def _load(files: TlsFiles) -> tuple[ssl.SSLContext, tuple[bytes, bytes, bytes | None], float]:
    """A context, the files' bytes, and until when the certificate is good, in Unix seconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key)
        pems = files.certificate.read_bytes(), files.key.read_bytes()
        authority = files.client_ca.read_bytes() if files.client_ca is not None else None
        if authority is not None:
            context.load_verify_locations(cadata=authority.decode("ascii"))
        until = x509.load_pem_x509_certificate(pems[0]).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _unusable(getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)) from error
    return context, (*pems, authority), until


def _unusable(cause: str) -> ConfigError:
    return ConfigError(
        Code.CONFIG_VALUE, f"the TLS files cannot be used: {cause}", "name a PEM certificate, its key and an authority"
    )
