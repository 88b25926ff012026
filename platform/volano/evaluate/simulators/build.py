"""The simulator of a shipped robot. Each is imported only when asked for: their graphics libraries are heavy."""

from volano.embodiment.shipped import shipped
from volano.evaluate.simulator import Simulator


def build(tag: str) -> Simulator:
    """A simulator for the embodiment `tag`; raises ContractError(E-CONTRACT-002) for an unknown one."""
    embodiment = shipped(tag)
    if embodiment.family == "manipulation":
        from volano.evaluate.simulators.metaworld import MetaWorldSimulator

        return MetaWorldSimulator(embodiment)
    if embodiment.family == "navigation":
        from volano.evaluate.simulators.miniworld import MiniWorldSimulator

        return MiniWorldSimulator(embodiment)
    from volano.evaluate.simulators.highway import HighwaySimulator

    return HighwaySimulator(embodiment)
