"""The Kubernetes API, as a source of objects and a sink of what became of them. Nothing else speaks to an API server.

crds      CustomResourceDefinitions, from the model: pure
"""
