"""Virtual machines on this host: the pod's namespace, the binding of its NICs, and the hypervisor in it."""
