"""Where the jobs of a sweep lie: folders named after what is asked, so that asking again finds them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from saddle.game.refusals import Refused
from saddle.records.questions import OF_THE_SWEEP, key


def job_words(words: Iterable[str]) -> tuple[str, ...]:
    """What a job is told of the words on the sweep's command line."""
    return tuple(word for word in words if key(word) not in OF_THE_SWEEP)


def digest(words: Iterable[str]) -> str:
    """Twelve digits for a set of words, whatever their order: 10,000 jobs collide with chance 2·10⁻⁷."""
    return sha256("\n".join(sorted(job_words(words))).encode()).hexdigest()[:12]


def sweep_name(name: str | None, words: Iterable[str]) -> str:
    """``sweep_name=NAME`` if given; else what varies, and the digest of the command."""
    if name is not None:
        return name
    words = job_words(words)
    several = r"=.*,|=(range|choice|glob|sort|shuffle)\("
    varying: list[str] = []
    for word in words:
        if key(word).startswith("ensemble."):  # name what its members differ in
            varying += ["seed"] if key(word) == "ensemble.seeds" else re.findall(r"([\w.@]+):", word)
        elif re.search(several, word):
            varying.append(key(word))
    varying = [*dict.fromkeys(varying)]
    return f"{slug(varying, 60) or 'sweep'}_{digest(words)}"


def slug(words: Iterable[str], length: int = 100) -> str:
    """The words as one part of a path that no shell, and no override of Hydra's, need quote."""
    plain = (re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.") for word in words)
    return "_".join(filter(None, plain))[:length].rstrip("-._")


def job_folders(sweep: Path, jobs: Sequence[Sequence[str]]) -> list[Path]:
    """One folder a job: the words in which it differs from the others, and its digest.

    Only the digest counts: where the sweep's folder already holds one that ends with it, that is the job's,
    so a sweep that is widened finds the jobs it had before.

    Raises:
        ValueError: two jobs are the same.
    """
    digests = [digest(words) for words in jobs]
    twice, times = Counter(digests).most_common(1)[0]
    if times > 1:
        raise Refused(
            f"the jobs of a sweep must differ; got {times} times {' '.join(jobs[digests.index(twice)])}. "
            "Drop the value that is given twice."
        )
    held = {path.name.rpartition("_")[2]: path for path in sweep.iterdir()} if sweep.is_dir() else {}
    counts = Counter(word for words in jobs for word in words)
    folders = []
    for one, words in zip(digests, jobs, strict=True):
        differing = [word for word in words if counts[word] < len(jobs)]
        folders.append(held.get(one) or sweep / f"{slug(differing) or 'job'}_{one}")
    return folders


def quoted(value: object) -> str:
    """A value that Hydra's override grammar reads back as this very text."""
    # backslashes count only before a quote, where they and the quote are escaped
    inside = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), str(value))
    return f"'{inside}'"
