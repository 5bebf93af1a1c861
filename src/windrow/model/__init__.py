"""Values only. Nothing here may touch a socket, a file, a clock, a process or a random number.

Everything in Windrow speaks in these types: manifests become `objects`, the kernel becomes
`host.Observed`, and what is to be done becomes `steps.Plan`.
"""
