"""A real Kubernetes in a lab: the control plane on a host of its own, and on each node what makes it one of a cluster.

    programs    what is built and installed on the host for it
    cluster     all of it, as the lab's session brings it up
    control     etcd and an API server, in the network namespace of their host; kubectl, accounts, objects
    node        a node's programs, as its operating system starts them: Windrow's agent, containerd, kubelet
    image       images for pods without a registry: an archive out of a program

The programs were built on the host, where the lab's files are (`services.kubernetes.parts`).
"""
