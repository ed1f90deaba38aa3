"""Where samples come from and which of them a round takes; images as floats and as levels; whole files.

May use the game, whose batches it fills.
"""
