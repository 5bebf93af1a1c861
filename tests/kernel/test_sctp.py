"""SCTP in the lab kernel: Kubernetes' suite has servers of it."""

from __future__ import annotations

import socket

from tests.kernel.conftest import Ns

from windrow.netlink import links


def test_a_server_of_sctp_listens_and_is_reached(ns: Ns) -> None:
    """It takes a hash for its cookies (`sctp_listen_start`), which is a module of its own."""

    def connect() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as server:
            server.bind(("127.0.0.1", 8000))
            server.listen()
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", 8000))

    ns.run(links.set_link("lo", up=True))
    ns.inside(connect)
