"""The command line, with kubectl's habits. Nothing is decided here: one module per verb, loaded when it is called."""
