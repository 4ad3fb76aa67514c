"""The whole product on one machine with nothing installed: a simulated world, a model of it, a stream.

Knows nothing of the command line's options or of how figures are shown.
"""
