"""TLS as a robot speaks it: whom it trusts, and what it shows of itself.

The platform's name is always verified. Without an authority of the operator's own those of the machine count.
"""

import ssl
from pathlib import Path

from volano.errors import Code, ConfigError


def client_context(
    authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS 1.3 settings of a client: PEM files of the authority that signed the platform's certificate, and of the
    robot's own certificate and key where the platform asks for one. Raises ConfigError(E-CONFIG-003) for files that
    cannot be used."""
    try:
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate is not None or key is not None:
            if certificate is None or key is None:
                raise ValueError("a certificate and its key belong together")
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            Code.CONFIG_VALUE, f"the TLS files cannot be used: {cause}", "name PEM files of certificates and their keys"
        ) from error
    return context
