"""A Kubernetes of one's own for tests and the lab: its parts are built once for each user, and started on loopback.

Nothing is decided here, and nothing speaks to the API but to ask whether it is there. `go.mod` and `go.sum` say which
version, by hash.
"""
