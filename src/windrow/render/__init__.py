"""Values as text and pictures. Nothing here looks at a terminal, a file or a clock: a style comes in as an argument.

The command line, the laboratory, the documentation and the golden files share it.
"""
