# A shell below which no process may trace another one, as in a container with a strict profile.
exec python tests/boot/confined.py '{"refuse": {"ptrace": 1}}' /bin/bash
