"""A certificate authority for one certificate, for local services with TLS."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Authority:
    """An authority: its key and its own certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def make_authority(common_name: str) -> Authority:
    """Return a new authority of this name."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name(common_name)
    builder = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def issue(
    authority: Authority, common_name: str, *, lifetime: datetime.timedelta = LIFETIME, password: bytes | None = None
) -> tuple[bytes, bytes]:
    """Return key (PKCS #8, encrypted if there is a password) and certificate as PEM, for the loopback address.

    The certificate is valid for servers and clients, since a broker is its own client.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        _builder(_name(common_name), authority.certificate.subject, key, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, how), certificate.public_bytes(pem)


def write_certificates(directory: Path, common_name: str, authority: Authority | None = None) -> None:
    """Write `ca.pem` (the authority) and `keystore.pem` (PKCS #8 key, then certificate) for the loopback address.

    Without an authority it makes one whose key is not kept, so that it can never sign another certificate.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = authority or make_authority(f"{common_name} authority")
    (directory / "ca.pem").write_bytes(authority.pem)
    keystore = directory / "keystore.pem"
    keystore.touch(mode=0o600)
    keystore.write_bytes(b"".join(issue(authority, common_name)))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: datetime.timedelta = LIFETIME
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + lifetime)
    )
