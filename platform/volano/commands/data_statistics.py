"""`volano data statistics`: what a version's numbers look like, and how far they lie from another's."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from volano.commands.terminal import STORE, Json, Store, places, print_json, require_store

if TYPE_CHECKING:
    from volano.data.shift import EmbodimentShift
    from volano.data.statistics import EmbodimentStatistics

_NUMBERS = ("mean", "std", "min", "q01", "q50", "q99", "max")


def statistics(
    version: Annotated[str, typer.Option("--version", help="A version's digits, or the first of them.")],
    against: Annotated[str, typer.Option("--against", help="Another's: says how far the first lies from it.")] = "",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Show each channel's mean, deviation, limits and quantiles, each row with its episode's weight."""
    from volano.data.shift import shift
    from volano.data.statistics import load_statistics
    from volano.data.version import load, meant
    from volano.storage.open import open_store

    require_store(store)
    opened = open_store(store)
    version, against = meant(opened, version), meant(opened, against) if against else ""
    chosen = load(opened, version)
    found = load_statistics(opened, chosen)
    other = load_statistics(opened, load(opened, against)) if against else {}
    alike = [tag for tag, one in found.items() if tag in other and other[tag].embodiment == one.embodiment]
    moved = {tag: shift(other[tag], found[tag]) for tag in alike}
    if as_json:
        shown = {tag: asdict(one) for tag, one in found.items()}
        drift = {tag: asdict(one) for tag, one in moved.items()}
        print_json({"version": version, "embodiments": shown, "against": against, "shifts": drift})
        return
    for tag, one in found.items():
        _show(tag, one)
    for tag, apart in moved.items():
        _compare(tag, apart, against)
    for tag in sorted((found.keys() | other.keys()) - moved.keys() if against else ()):
        print(f"{tag}: not in both, or under two contracts")
    beside = against or chosen.parent
    print(
        f"next: volano data diff {beside} {version}{places(store=store)}"
        if against
        else f"next: volano data statistics --version {version} --against {beside or 'OTHER'}{places(store=store)}"
    )


def _show(tag: str, one: "EmbodimentStatistics") -> None:
    print(f"{tag}: {one.episodes} episodes, {one.rows} rows, weight {one.weight:g}")
    print(f"  {'':24}" + "".join(f"{name:>11}" for name in _NUMBERS))
    for vector, channels in (("state", one.state), ("action", one.action)):
        for channel in channels:
            numbers = {**channel.quantiles, "mean": channel.mean, "std": channel.std}
            numbers |= {"min": channel.low, "max": channel.high}
            row = "".join(f"{numbers[name]:11.4g}" for name in _NUMBERS)
            print(f"  {f'{vector} {channel.name}':24}{row}  {channel.unit}, quantiles ± {channel.error:.1g}")
    for name, camera in one.cameras.items():
        print(f"  {f'camera {name}':24}mean red, green, blue {', '.join(f'{colour:.3f}' for colour in camera.mean)}")


def _compare(tag: str, apart: "EmbodimentShift", against: str) -> None:
    print(f"{tag}, over {against[:12]}:")
    for one in apart.channels:
        deviations = "" if one.deviations is None else f", {one.deviations:+.2f} of its deviations"
        print(
            f"  {f'{one.vector} {one.name}':24}mean {one.mean:+.4g} {one.unit}{deviations};"
            f" distance {one.distance:.3f}; {one.clipped:.1%} past its q01 and q99"
        )
    for name, colours in apart.cameras.items():
        print(f"  {f'camera {name}':24}mean red, green, blue {', '.join(f'{colour:+.3f}' for colour in colours)}")
