"""What the metrics of made-up records mean: by the functions that would have measured them."""

from saddle.metrics.frechet import fid
from saddle.metrics.kernels import gaussian_mmd, kid
from saddle.metrics.modes import mixture_modes
from saddle.metrics.neighbours import prdc
from saddle.metrics.two_sample import one_nearest_neighbour
from saddle.metrics.values import Value, meanings_of
from saddle.metrics.vendi import vendi

ENTRIES = {
    "fid": fid,
    "mmd": gaussian_mmd,
    "kid": kid,
    "vendi": vendi,
    "modes": mixture_modes,
    "prdc": prdc,
    "one_nn": one_nearest_neighbour,
}
MEANINGS: dict[str, Value] = {
    name: value for entry in ENTRIES.items() for name, value in meanings_of(*entry).items()
}
