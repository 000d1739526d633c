"""Ports for servers that begin to listen a while after their port was chosen."""

import random
import socket

PORTS = range(20_000, 32_000)
"""Below those that a system hands out to whoever wants any, a client's connection included: such a
port would be given away again before the server has started."""


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"Of 100 ports from {PORTS[0]} to {PORTS[-1]} none is free.")
