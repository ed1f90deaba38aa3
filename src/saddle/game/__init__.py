"""The pure core: players, losses, penalties, transforms and their derivatives, as functions of tensors.

Imports nothing else of Saddle, and draws no number.
"""
