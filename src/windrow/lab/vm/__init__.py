"""Guests for the lab's machines: a kernel, a small image, and a word with what runs in them. No network is made here.

archive     a directory tree as the archive that a kernel unpacks at boot (newc)
kernel      the kernel out of its package: what QEMU loads fastest, and the modules a guest needs
image       busybox, modules and `init.sh` become the guest's first file system
agent       commands for a guest, over its second serial line
fleet       starting a scenario's machines on their nodes, and stopping them
"""
