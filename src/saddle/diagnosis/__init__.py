"""What goes on in a game and what became of a run: linearization, spectra, probes, paths, verdicts.

May use games and their rounds; what judges records needs no torch.
"""
