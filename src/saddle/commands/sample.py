"""``saddle-sample``: samples of a run's generator, as a grid or a folder."""

from pathlib import Path

from omegaconf import DictConfig

from saddle.commands import entry
from saddle.game.refusals import Refused
from saddle.training.refusing import refusing


def main() -> None:
    """Console entry point."""
    entry.run("sample", sample)


def sample(config: DictConfig) -> None:
    """Draw ``num`` samples and write what was asked for."""
    from dataclasses import replace
    from io import BytesIO

    import numpy as np
    from rich.progress import track

    from saddle.data.files import atomic_write
    from saddle.reports.pictures import image_file, picture_of
    from saddle.training.restore import restore

    with refusing():
        if config.run is None:
            raise Refused("run must be the directory of a run; got none. Say run=runs/NAME/TIME.")
        if not isinstance(config.num, int) or config.num < 1:
            raise Refused(f"num must be a whole number of at least 1; got {config.num}. Give such a number.")
        if not config.grid and not config.folder:
            raise Refused("grid or folder must be given; got neither. Say grid=out.png or folder=samples.")
        if config.grid and not Path(config.grid).absolute().parent.is_dir():
            raise Refused(f"grid must lie in an existing folder; got {config.grid}. Make the folder first.")
        if config.folder and Path(config.folder).exists() and not _is_empty(Path(config.folder)):
            raise Refused(f"folder must be new or empty; got {config.folder} with files in it. Name another.")
        restored = restore(config.run, config.checkpoint, config.averaged)
    experiment = restored.experiment
    samples = replace(experiment.sampler, seed=config.seed)(restored.params, config.num).cpu()
    of_images = samples.ndim == 4
    if config.grid:
        picture, _ = picture_of(experiment.dataset.event_shape)
        atomic_write(Path(config.grid), picture(experiment.dataset.train.first(2500), samples))
        print(config.grid)
    if config.folder:
        folder = Path(config.folder)
        folder.mkdir(parents=True, exist_ok=True)
        if of_images:
            width = len(str(config.num - 1))
            for index, image in enumerate(track(samples, "writing")):
                atomic_write(folder / f"{index:0{width}d}.png", image_file(image))
        else:
            content = BytesIO()
            np.save(content, samples.numpy())
            atomic_write(folder / "points.npy", content.getvalue())
        print(config.folder)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


if __name__ == "__main__":
    main()
