"""What a run leaves behind and how it is read back: record, checkpoints, provenance, questions.

May use diagnosis, whose verdict a summary holds. Reading needs no torch.
"""
