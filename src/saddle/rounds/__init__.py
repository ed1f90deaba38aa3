"""How a round of a game is run: eagerly, compiled, or lifted over many members at once.

May use the game, its dynamics, and how batches are drawn.
"""
