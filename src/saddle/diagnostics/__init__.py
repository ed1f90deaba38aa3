"""Diagnostics: what goes on in the game. Imports nothing, so that reading a record needs no torch."""
