"""Train a GAN. Thin wrapper of ``saddle-train``."""

from saddle.commands.train import main

if __name__ == "__main__":
    main()
