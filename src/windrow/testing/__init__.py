"""What tests stand on: a kernel in memory that obeys and refuses as the real one does, and what to feed it.
No other room may import it.

    fake      FakeKernel: observe, run, nics, features; prints itself (table)
    machine   its rules, each with the kernel function it comes from; bonding: those of the bond options
    traffic   its monitor: which links carry frames, and what a step takes from them
    builders  short ways to write objects, links and steps
    generate  random hosts, clusters and sabotage, from a seed

Shipped with Windrow, so that those who build on it can test without a kernel. The fake is certified: the same
scripts end the same way on it and on the real kernel (tests/kernel/test_certify_fake.py).
"""
