"""Compare runs. Thin wrapper of ``saddle-compare``."""

from saddle.commands.compare import main

if __name__ == "__main__":
    main()
