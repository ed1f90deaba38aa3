"""Draw samples from a run's generator. Thin wrapper of ``saddle-sample``."""

from saddle.commands.sample import main

if __name__ == "__main__":
    main()
