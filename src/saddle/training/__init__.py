"""From a configuration to a trained run: assembly, the one LightningModule, recorders, trackers.

May use everything but the rooms of many runs, of claims and of commands.
"""
