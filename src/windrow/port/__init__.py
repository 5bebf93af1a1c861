"""One CNI or VM port: a request becomes a wanted port and a result document. Pure, and quick to import.

A container runtime starts a plugin anew for every call, so nothing here may import what takes long
(`click`, `yaml`, `windrow.model.objects`, `windrow.model.wire`).
"""
