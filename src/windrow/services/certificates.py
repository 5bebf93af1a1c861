"""Certificates by the program openssl: an authority of our own, and what it signs. Nobody is told to trust it here."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from windrow.model.lazy import dataclass
from windrow.services.errors import ServiceError

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_SECONDS = 30.0
_HINT = "apt-get install openssl"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def stored(self, directory: Path) -> tuple[Path, Path]:
        """As two files, which is how a TLS library takes them; nobody else reads the key."""
        paths = directory / "tls.crt", directory / "tls.key"
        for path, data in zip(paths, (self.certificate, self.key), strict=True):
            beside = path.with_suffix(f"{path.suffix}.new")
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            beside.replace(path)
        return paths


def make_authority(directory: Path, name: str, days: int) -> Pair:
    """`directory`: for files that are needed meanwhile, and that nobody else reads. Raises ServiceError."""
    certificate, key = directory / "authority.crt", directory / "authority.key"
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _run(
        "req", "-x509", *_CURVE, "-days", str(days), "-subj", f"/CN={name}", *usage, "-keyout", key, "-out", certificate
    )
    return Pair(certificate.read_bytes(), key.read_bytes())


def sign(directory: Path, authority: Pair, hosts: Sequence[str], days: int) -> Pair:
    """A server's certificate for these names and addresses. Raises ServiceError."""
    request, certificate, key = directory / "server.csr", directory / "server.crt", directory / "server.key"
    by, with_ = directory / "authority.crt", directory / "authority.key"
    _write(by, authority.certificate)
    _write(with_, authority.key)
    names = ",".join(f"{'IP' if _is_address(host) else 'DNS'}:{host}" for host in hosts)
    extensions = ("-addext", f"subjectAltName={names}", "-addext", "extendedKeyUsage=serverAuth")
    # A common name has 64 characters at most, and nobody looks at it.
    _run("req", "-new", *_CURVE, "-subj", "/CN=windrow", *extensions, "-keyout", key, "-out", request)
    signed = ("-CA", by, "-CAkey", with_, "-CAcreateserial", "-copy_extensions", "copy")
    _run("x509", "-req", "-in", request, *signed, "-days", str(days), "-out", certificate)
    return Pair(certificate.read_bytes(), key.read_bytes())


def lifetime(certificate: bytes) -> tuple[float, float]:
    """From when until when the first certificate of a PEM text is good, as Unix times. Raises ServiceError."""
    said = dict(
        line.split("=", 1) for line in _run("x509", "-noout", "-startdate", "-enddate", stdin=certificate).splitlines()
    )
    return ssl.cert_time_to_seconds(said["notBefore"]), ssl.cert_time_to_seconds(said["notAfter"])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _run(*words: str | Path, stdin: bytes = b"") -> str:
    command = ["openssl", *map(str, words)]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise ServiceError("openssl", "it is not installed", _HINT) from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError("openssl", f"it did not end within {_SECONDS:.0f} s") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise ServiceError("openssl", f"{words[0]}: {' '.join(last) or 'it failed'}")
    return done.stdout.decode()
