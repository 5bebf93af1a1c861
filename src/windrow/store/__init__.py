"""The store: a directory of manifests, as people keep them in git. Nothing here knows what they mean.

Every host gets the same directory and takes what its node selectors match. Writes are atomic: a crash
leaves the old file or the new one.
"""
