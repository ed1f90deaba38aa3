"""Search settings of training. Thin wrapper of ``saddle-search``."""

from saddle.commands.search import main

if __name__ == "__main__":
    main()
