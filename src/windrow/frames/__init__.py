"""Bytes on the cable and the values that they mean, both ways. No socket here: `sense` and `netlink` have those."""
