"""The simulator of a shipped robot. Each is imported only when asked for: their graphics libraries are heavy.

This is the only door: the libraries read their environment when imported, and `build` sets it before.
"""

import os

from volano.embodiment.shipped import shipped
from volano.evaluate.simulator import Simulator

_ENVIRONMENT = {
    "MUJOCO_GL": "egl",
    "LP_NUM_THREADS": "1",  # one software-renderer thread per worker, not one per core
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",  # standard output belongs to the caller
}


def build(tag: str) -> Simulator:
    """A simulator for the embodiment `tag`; raises ContractError(E-CONTRACT-002) for an unknown one."""
    embodiment = shipped(tag)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.pop("SDL_VIDEODRIVER", None)  # with it highway-env draws blank frames and says nothing
    if embodiment.family == "manipulation":
        from volano.evaluate.simulators.metaworld import MetaWorldSimulator

        return MetaWorldSimulator(embodiment)
    if embodiment.family == "navigation":
        from volano.evaluate.simulators.miniworld import MiniWorldSimulator

        return MiniWorldSimulator(embodiment)
    from volano.evaluate.simulators.highway import HighwaySimulator

    return HighwaySimulator(embodiment)
