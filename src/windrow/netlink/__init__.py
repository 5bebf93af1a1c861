"""The kernel edge: rtnetlink in, `model.host.Observed` out; `model.steps.Step` in, messages out.

Nothing here decides anything. Only this package knows attribute numbers (`codec`), and only the
applications join it with `compile` and `plan`.
"""
