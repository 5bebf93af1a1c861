"""Frames: bytes to values and back. Nothing here touches a socket: `netlink` and `lab` send and hear."""
