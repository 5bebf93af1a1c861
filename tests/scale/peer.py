"""A webhook that lets everything in: what a verdict costs at least in this language. `peer.py PORT CERTIFICATE KEY`.

No more of HTTP than an API server sends: a head with a length, one request after the other on a connection."""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import threading

_LENGTH, _UID = re.compile(rb"(?i)\r\ncontent-length: *(\d+)"), re.compile(rb'"uid": *"([^"]+)"')


def answered(body: bytes) -> bytes:
    uid = _UID.search(body)
    assert uid is not None, body
    response = {"uid": uid[1].decode(), "allowed": True}
    data = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def serve(connection: socket.socket, context: ssl.SSLContext) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with context.wrap_socket(connection, server_side=True) as line:
        came = b""
        while data := line.recv(65536):
            came += data
            head, end, body = came.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if end and length is not None and len(body) >= int(length[1]):
                line.sendall(answered(body))
                came = b""


def main(port: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, context), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
