#!/usr/bin/env python3
"""Makes the keys and tokens of the tests beside it, with PyJWT and cryptography: `pip install pyjwt cryptography`.

The times in the tokens are fixed: issued at 1,800,000,000 seconds since 1970 (2027-01-15), valid for an hour.
"""

import base64
import datetime
import hashlib
import hmac
import json
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

HERE = Path(__file__).parent
ISSUED = 1_800_000_000
SECRET = b"a shared secret of forty-two bytes, exactly"[:42]


def write(name, data):
    (HERE / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def pem(key):
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


keys = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
other = ec.generate_private_key(ec.SECP256R1())
write("secret", SECRET + b"\n")
for algorithm, key in keys.items():
    write(f"{algorithm}.pem", pem(key.public_key()))
write("P-384.pem", pem(ec.generate_private_key(ec.SECP384R1()).public_key()))
write("RSA-1024.pem", pem(rsa.generate_private_key(65537, 1024).public_key()))
write("private.pem", private_pem(other))
write("ES256-2.pem", pem(other.public_key()))
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
certificate = (
    x509.CertificateBuilder()
    .subject_name(name)
    .issuer_name(name)
    .public_key(keys["ES256"].public_key())
    .serial_number(1)
    .not_valid_before(datetime.datetime(2026, 1, 1))
    .not_valid_after(datetime.datetime(2056, 1, 1))
    .sign(keys["ES256"], hashes.SHA256())
)
write("certificate.pem", certificate.public_bytes(serialization.Encoding.PEM))

rsa_numbers = keys["RS256"].public_key().public_numbers()


def ec_jwk(key, **more):
    numbers = key.public_key().public_numbers()
    x, y = (base64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **more}


ed25519_bytes = keys["EdDSA"].public_key().public_bytes(
    serialization.Encoding.Raw, serialization.PublicFormat.Raw
)
jwks = {
    "keys": [
        {"kty": "oct", "kid": "hs", "alg": "HS256", "k": base64url(SECRET)},
        {"kty": "RSA", "kid": "rs", "use": "sig", "n": number(rsa_numbers.n), "e": number(rsa_numbers.e)},
        ec_jwk(keys["ES256"], kid="es", alg="ES256"),
        ec_jwk(other, kid="es-2"),
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": base64url(ed25519_bytes)},
        {"kty": "EC", "crv": "secp256k1", "kid": "unknown curve", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "for encryption", "use": "enc", "n": "AA", "e": "AQAB"},
        {"kty": "AKP", "kid": "unknown type", "alg": "ML-DSA-44", "pub": "AA"},
    ]
}
write("jwks.json", json.dumps(jwks, indent=1) + "\n")

CLAIMS = {"sub": "ann", "iat": ISSUED, "exp": ISSUED + 3600}
tokens = {}


def token(label, algorithm="HS256", claims=None, key=None, **headers):
    claims = CLAIMS if claims is None else claims
    key = key or (SECRET if algorithm == "HS256" else keys[algorithm])
    tokens[label] = jwt.encode(claims, key, algorithm=algorithm, headers=headers)


for algorithm in ["HS256", "RS256", "ES256", "EdDSA"]:
    token(algorithm, algorithm)
token("ES256 by another key", "ES256", key=other)
token("ES256 kid es", "ES256", kid="es")
token("ES256 kid es-2", "ES256", key=other, kid="es-2")
token("ES256 kid es by another key", "ES256", key=other, kid="es")
token("ES256 kid nobody", "ES256", kid="nobody")
tokens["none"] = jwt.encode(CLAIMS, None, algorithm="none")
# The classic attack: the public key, which everybody has, as the secret of HMAC. PyJWT refuses to make it.
head = base64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
body = base64url(json.dumps(CLAIMS).encode())
public = (HERE / "RS256.pem").read_bytes()
mac = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
tokens["HS256 with the public key of RS256"] = f"{head}.{body}.{base64url(mac)}"
tokens["HS512"] = jwt.encode(CLAIMS, SECRET * 2, algorithm="HS512")
token("crit", crit=["x"], x=1)
token("no exp", claims={"sub": "ann"})
token("exp is a text", claims={"sub": "ann", "exp": str(ISSUED + 3600)})
token("exp has a fraction", claims={"sub": "ann", "exp": ISSUED + 3600.5})
token("exp is huge", claims={"sub": "ann", "exp": 2**63})
token("nbf", claims={**CLAIMS, "nbf": ISSUED + 60})
tokens["nbf is a text"] = jwt.api_jws.encode(
    json.dumps({**CLAIMS, "nbf": "never"}).encode(), SECRET, algorithm="HS256"
)
token("no sub", claims={"exp": ISSUED + 3600, "device": "pump-7"})
token("sub is empty", claims={**CLAIMS, "sub": ""})
tokens["sub is a number"] = jwt.api_jws.encode(json.dumps({**CLAIMS, "sub": 7}).encode(), SECRET, algorithm="HS256")
token("sub has a line end", claims={**CLAIMS, "sub": "ann\nbob"})
token("sub is long", claims={**CLAIMS, "sub": "x" * 257})
token("iss", claims={**CLAIMS, "iss": "https://issuer.example"})
token("aud", claims={**CLAIMS, "aud": "goldcrest"})
token("aud list", claims={**CLAIMS, "aud": ["other", "goldcrest"]})
token("acl", claims={**CLAIMS, "acl": {"pub": ["a/#"]}})
token("acl is null", claims={**CLAIMS, "acl": None})
token("long", claims={**CLAIMS, "filler": "x" * 20_000})
write("tokens", "".join(f"{label}: {value}\n" for label, value in tokens.items()))
