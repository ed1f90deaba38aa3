"""Draw a game or runs. Thin wrapper of ``saddle-portrait``."""

from saddle.commands.portrait import main

if __name__ == "__main__":
    main()
