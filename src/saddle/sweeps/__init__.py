"""Many runs from one command: each job a process of its own, and an ordinary run record."""
