"""Why a server may take us for nobody: what of our credentials can be seen to be wrong from here, in words."""

from __future__ import annotations

from datetime import datetime

from fairway.client.kubeconfig import Connection


def outdated(certificates: bytes, now: datetime) -> str:
    """What is wrong with the time of the first of these certificates in PEM; empty when nothing is known to be."""
    # Asked for once in a while, and only in trouble; a proxy need not keep it in its memory all the time.
    from cryptography import x509

    try:
        first = x509.load_pem_x509_certificates(certificates)[0]
    except (ValueError, IndexError):
        return ""
    if now > first.not_valid_after_utc:
        return f"expired at {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < first.not_valid_before_utc:
        return (
            f"is valid from {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, and this machine's clock is before that"
        )
    return ""


def why_unknown(connection: Connection, now: datetime) -> str:
    """Why a server that answers 401 may not know who is asking, and where to look."""
    if connection.token_file is not None:
        return f"it does not take the token in {connection.token_file}"
    if connection.token:
        return f"it does not take the token in {connection.source}"
    if connection.client_certificate:
        problem = outdated(connection.client_certificate, now) or "is of an authority that it does not know"
        return f"the client certificate in {connection.source} {problem}"
    return f"{connection.source} has neither a client certificate nor a token"
