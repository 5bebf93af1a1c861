"""Sockets on NICs that listen to what switches and other nodes say, and ask politely: `model/evidence` comes out.

Nothing here judges what it hears, and nothing is sent into a VLAN that is not intended.
"""
