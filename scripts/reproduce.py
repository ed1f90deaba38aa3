"""Measure published results again. Thin wrapper of ``saddle-reproduce``."""

from saddle.commands.reproduce import main

if __name__ == "__main__":
    main()
