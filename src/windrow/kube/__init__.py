"""The Kubernetes API, as a source of objects and a sink of what became of them. Nothing else speaks to an API server.

Nothing is decided here: documents come in and go out as values. A client library does TLS, kubeconfig files and
tokens; it comes with `windrow[kube]`, and a host without it imports nothing of this room.

    access    which server, as whom          api       requests, lists, watches
    trim      what is kept of a document      cache     the objects as they are now
    follow    list, watch, resume, again      writing   what is said of objects, where it differs
    mirror    the thread that does all of it  crds      what an API server must know of our kinds
"""
