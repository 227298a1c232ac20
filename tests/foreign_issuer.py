"""Another issuer, as a process with keys of its own: `python foreign_issuer.py [certificate key]`, prints its port.

``GET /realms/<realm>/certs`` is a realm's key set. ``POST /realms/<realm>/mint`` signs what it is told: a JSON object
``{"header", "claims", "with"}``, where ``with`` is ``realm``, ``none`` or ``public`` (HMAC with the public key).
``POST /realms/<realm>/rotate`` adds a key. ``POST /behave`` sets how key sets are served: a name of BEHAVIOURS.
"""

import base64
import hashlib
import hmac
import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BEHAVIOURS = ("well", "error", "slow", "huge", "redirect", "garbage", "weak", "symmetric")


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64u(value.to_bytes((value.bit_length() + 7) // 8))


class Realm:
    def __init__(self, name):
        self.name = name
        self.keys = []
        self.rotate()

    def rotate(self, bits=2048):
        self.keys.append((f"{self.name}-{len(self.keys) + 1}", rsa.generate_private_key(65537, bits)))

    def key_set(self):
        return {
            "keys": [
                {"kid": kid, "kty": "RSA", "use": "sig", "n": number(key.public_key().public_numbers().n), "e": "AQAB"}
                for kid, key in self.keys
            ]
        }

    def mint(self, order):
        kid, key = self.keys[-1]
        header = {"alg": "RS256", "typ": "JWT", "kid": kid, **order.get("header", {})}
        signed = f"{b64u(json.dumps(header).encode())}.{b64u(json.dumps(order['claims']).encode())}"
        match order.get("with", "realm"):
            case "none":
                signature = b""
            case "public":
                public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                signature = hmac.new(public, signed.encode(), hashlib.sha256).digest()
            case _:
                signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64u(signature)}"


class Handler(BaseHTTPRequestHandler):
    realms: ClassVar[dict] = {}
    behaviour = "well"
    served = 0

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def realm(self):
        name = self.path.split("/")[2]
        if name not in self.realms:
            self.realms[name] = Realm(name)
        return self.realms[name]

    def do_GET(self):
        if self.path == "/served":
            return self.answer(200, str(Handler.served).encode())
        Handler.served += 1
        sets = self.realm().key_set()
        match Handler.behaviour:
            case "error":
                return self.answer(500, json.dumps(sets).encode())
            case "slow":
                time.sleep(4)
            case "huge":
                sets["padding"] = "x" * 300_000
            case "redirect":
                Handler.behaviour = "well"
                return self.answer(302, location=self.path)
            case "garbage":
                return self.answer(200, b"<html>")
            case "symmetric":
                sets["keys"] = [
                    {**each, "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"} for each in sets["keys"]
                ]
        return self.answer(200, json.dumps(sets).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        if self.path == "/behave":
            assert body in BEHAVIOURS
            Handler.behaviour = body
            return self.answer(204)
        if self.path.endswith("/rotate"):
            self.realm().rotate(int(body or 2048))
            return self.answer(204)
        return self.answer(200, self.realm().mint(json.loads(body)).encode())


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 1:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[1], sys.argv[2])
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
