"""Create the certificates of a release as Kubernetes Secrets, and renew those that expire soon.

Input is the environment: NAMESPACE and AUTHORITY (Secret of the CA), DAYS, and CERTIFICATES, a JSON list of
{secret, namespace, commonName, dnsNames, caSecret}. Each Secret gets tls.crt, tls.key (PKCS #8) and ca.crt, and for
Java keystore.pem (key, then certificate), keystore and truststore (PKCS #12) with their passwords. A Secret that this
program has not created (without its annotation) stays as it is.
"""

import base64
import datetime
import hashlib
import hmac
import ipaddress
import json
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from kubernetes import client, config

OURS = "sensor-etl/made-by"
PEM = serialization.Encoding.PEM


def main():
    """Create what is missing or expires soon; print one line for each Secret."""
    config.load_incluster_config()
    api = client.CoreV1Api()
    days = int(os.environ["DAYS"])
    wanted = json.loads(os.environ["CERTIFICATES"])
    namespace, name = os.environ["NAMESPACE"], os.environ["AUTHORITY"]
    stored = find(api, namespace, name)
    if stored is None:
        stored = make_authority(name)
        put(api, namespace, name, stored, exists=False)
        say(namespace, name, "made")
    authority = x509.load_pem_x509_certificate(stored["tls.crt"])
    key = serialization.load_pem_private_key(stored["tls.key"], None)
    for item in wanted:
        renew(api, item, authority, key, days)


def renew(api, item, authority, authority_key, days):
    """Create one server certificate unless a valid one exists, and the Secret with its CA that clients mount."""
    namespace, name = item["namespace"], item["secret"]
    stored = find(api, namespace, name)
    if stored is not None and not ours(api, namespace, name):
        say(namespace, name, "is not ours, stays" + (", but ends soon" if ends_soon(stored, days) else ""))
    elif stored is not None and not ends_soon(stored, days) and signed_by(stored, authority):
        say(namespace, name, "is there")
    else:
        put(api, namespace, name, make_certificate(item, authority, authority_key, days), exists=stored is not None)
        say(namespace, name, "made" if stored is None else "renewed")
    if item.get("caSecret"):
        ca = {"ca.crt": authority.public_bytes(PEM)}
        there = find(api, os.environ["NAMESPACE"], item["caSecret"])
        foreign = there is not None and not ours(api, os.environ["NAMESPACE"], item["caSecret"])
        if not foreign and (there is None or there.get("ca.crt") != ca["ca.crt"]):
            put(api, os.environ["NAMESPACE"], item["caSecret"], ca, exists=there is not None)
            say(os.environ["NAMESPACE"], item["caSecret"], "made" if there is None else "renewed")


def say(namespace, name, what):
    """Print what was done with a Secret."""
    print(f"secret {namespace}/{name}: {what}", flush=True)


def find(api, namespace, name):
    """Return the decoded data of a Secret, None if there is none."""
    try:
        found = api.read_namespaced_secret(name, namespace)
    except client.ApiException as error:
        if error.status == 404:
            return None
        raise
    return {key: base64.b64decode(value) for key, value in (found.data or {}).items()}


def ours(api, namespace, name):
    """Return whether this program has created a Secret."""
    return OURS in (api.read_namespaced_secret(name, namespace).metadata.annotations or {})


def put(api, namespace, name, data, *, exists):
    """Create a Secret, or replace one that this program has created."""
    secret = client.V1Secret(
        metadata=client.V1ObjectMeta(
            name=name, labels=json.loads(os.environ.get("LABELS", "{}")), annotations={OURS: "certificates"}
        ),
        data={key: base64.b64encode(value).decode() for key, value in data.items()},
    )
    if exists:
        api.patch_namespaced_secret(name, namespace, secret)
    else:
        api.create_namespaced_secret(namespace, secret)


def ends_soon(stored, days):
    """Return whether less than a third of the days are left; false for a Secret without tls.crt."""
    if "tls.crt" not in stored:
        return False
    left = x509.load_pem_x509_certificate(stored["tls.crt"]).not_valid_after_utc - now()
    return left < datetime.timedelta(days=days / 3)


def signed_by(stored, authority):
    """Return whether the stored CA is this one; true for a Secret without ca.crt."""
    return "ca.crt" not in stored or stored["ca.crt"] == authority.public_bytes(PEM)


def now():
    """Return the time with its zone."""
    return datetime.datetime.now(datetime.UTC)


def new_key():
    """Return an RSA key, which every Java and OpenSSL reads in any format."""
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)


def pem_key(key):
    """Return a private key as PKCS #8 PEM."""
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def builder(subject, issuer, public_key, days):
    """Return a builder of a certificate that is valid from an hour ago, because clocks differ."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - datetime.timedelta(hours=1))
        .not_valid_after(now() + datetime.timedelta(days=days))
    )


def usage(*, signs):
    """Return the key usage of an authority, or of a server."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        key_encipherment=not signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def make_authority(name):
    """Return a CA for ten years: tls.crt and tls.key."""
    key = new_key()
    certificate = (
        builder(name, None, key.public_key(), 3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return {"tls.crt": certificate.public_bytes(PEM), "tls.key": pem_key(key)}


def store_password(item, store, authority_key):
    """Return the password of a Java store: the same at each renewal, since K8ssandra keeps a copy in its settings."""
    where = f"{item['namespace']}/{item['secret']}/{store}".encode()
    return hmac.new(pem_key(authority_key), where, hashlib.sha256).hexdigest()[:32].encode()


def make_certificate(item, authority, authority_key, days):
    """Return a server certificate in all the forms that servers and operators read."""
    key = new_key()
    # A broker connects to itself by the loopback address.
    names = [*map(x509.DNSName, item["dnsNames"]), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        builder(item["commonName"], authority.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            # A broker is its own client.
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key_password, trust_password = (store_password(item, store, authority_key) for store in ("keystore", "truststore"))
    trusted = pkcs12.PKCS12Certificate(authority, b"ca")
    pem = certificate.public_bytes(PEM)
    return {
        "ca.crt": authority.public_bytes(PEM),
        "tls.crt": pem,
        "tls.key": pem_key(key),
        "keystore.pem": pem_key(key) + pem,
        "keystore": pkcs12.serialize_key_and_certificates(
            b"server", key, certificate, [authority], serialization.BestAvailableEncryption(key_password)
        ),
        "keystore-password": key_password,
        "truststore": pkcs12.serialize_java_truststore(
            [trusted], serialization.BestAvailableEncryption(trust_password)
        ),
        "truststore-password": trust_password,
    }


if __name__ == "__main__":
    main()
