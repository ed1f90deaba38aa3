"""Randomness as a pure function of (seed, purpose, step).

No draw in this project depends on what was drawn before it. A generator is made anew for each
purpose and step, so a run resumes exactly from its clock alone, evaluation cannot disturb training,
and a member of an ensemble draws what the solo run with its seed would draw.
"""

from hashlib import blake2b

import torch


def seed_of(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed for one purpose at one step: unlike inputs give unrelated streams."""
    digest = blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # torch seeds are signed 64-bit integers


def generator(seed: int, purpose: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on ``device`` for one purpose at one step."""
    return torch.Generator(device).manual_seed(seed_of(seed, purpose, step))
