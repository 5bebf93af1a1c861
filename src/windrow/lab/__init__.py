"""A cluster in one real kernel. Nothing here decides what a node's network should be: the applications inject that.

    scenario          the file that describes nodes, switches, hosts outside, cables and checks -> values
    kernel/           a kernel to run it in: User-Mode Linux, or this one's own namespaces; no root
    guest/            what runs inside that kernel: process 1, the server of requests, running programs
    world             builds the topology out of namespaces, bridges, bonds and veth pairs
    probe, checks     frames sent and captured, and what must be true of them
    supervisor        keeps a lab running after `lab up` has ended

The host never reads or writes a lab's network by itself: all it has is one byte stream (`channel`).
"""
