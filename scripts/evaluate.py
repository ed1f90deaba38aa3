"""Evaluate a run's checkpoint. Thin wrapper of ``saddle-evaluate``."""

from saddle.commands.evaluate import main

if __name__ == "__main__":
    main()
