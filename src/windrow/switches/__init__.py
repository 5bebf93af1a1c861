"""What is wanted of each switch port, as one document, and in the statements of the switch's own system.

No connection to any switch: texts come out, and somebody pastes them.
"""
