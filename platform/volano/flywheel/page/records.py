"""The page's sections on what happened: uploads, videos, lineage, time and where to look further."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from volano.flywheel.page.charts import bar
from volano.flywheel.page.markup import beside, code, details, element, short, table
from volano.flywheel.summary import DatasetStory, Door, Intake, PolicyStory, RobotUploads, StepTime, Video


def intake_section(intakes: tuple[Intake, ...]) -> list[Element]:
    """What became of every upload; the counts must add up, and the page says whether they do."""
    parts = []
    for intake in intakes:
        counts = intake.counts
        quarantined, rejected = sum(counts.quarantined.values()), sum(counts.rejected.values())
        told = counts.accepted + quarantined + rejected + counts.in_flight
        law = (
            f"{counts.uploaded} uploaded = {counts.accepted} accepted + {quarantined} quarantined + "
            f"{rejected} rejected + {counts.in_flight} in flight"
        )
        verdict = "" if told == counts.uploaded else f": does not hold, they add up to {told}"
        parts += [
            element("h3", intake.moment),
            element("p", element("strong", law), verdict),
            table(
                ("fate", "code", "uploads"),
                [*_by_code("quarantined", counts.quarantined), *_by_code("rejected", counts.rejected)],
                numbers=(2,),
            ),
        ]
    return parts


def video_section(videos: tuple[Video, ...]) -> list[Element]:
    """Recorded attempts; nothing is loaded before it is played."""
    return [element("div", *(_video(video) for video in videos), class_="charts")]


def lineage_section(policies: tuple[PolicyStory, ...]) -> list[Element]:
    """From each policy to its dataset versions, their uploads and the robots that sent them."""
    parts = []
    for policy in policies:
        parts.append(element("h3", f"{policy.name} ", short(policy.digest)))
        parent = ["trained from policy ", short(policy.parent)] if policy.parent else ["trained from random weights"]
        parts.append(element("p", *parent, f" on {len(policy.datasets)} dataset versions:"))
        parts += [_dataset(dataset) for dataset in policy.datasets]
    return parts


def timing_section(timings: tuple[StepTime, ...]) -> list[Element]:
    """Every step's time, and their sum."""
    longest = max((timing.seconds for timing in timings), default=0.0) or 1.0
    rows = [
        (timing.step, bar(timing.seconds / longest, f"{timing.seconds:.1f} s"), f"{timing.seconds:.1f} s")
        for timing in timings
    ]
    total = sum(timing.seconds for timing in timings)
    return [
        table(("step", "", "time"), rows, numbers=(2,)),
        element("p", f"Together {total:.1f} s, which is {total / 60:.1f} minutes."),
    ]


def door_section(doors: tuple[Door, ...]) -> list[Element]:
    """Where each tool's own data stands, and what opens it."""
    return [
        table(
            ("", "where", "open it with"), [(door.name, _address(door.address), code(door.command)) for door in doors]
        )
    ]


def _by_code(fate: str, counts: Mapping[str, int]) -> list[tuple[str, Element, str]]:
    return [(fate, code(name), str(number)) for name, number in sorted(counts.items())]


def _video(video: Video) -> Element:
    said = "succeeded" if video.success else "failed"
    caption = element("figcaption", element("strong", video.robot), f", {video.task}: {video.actor} {said}")
    link = beside(video.path)
    if not link:
        return element(
            "figure", caption, element("p", "not shown: the file is not beside this page: ", code(video.path))
        )
    player = element("video", controls="", preload="none", playsinline="", src=link)
    return element("figure", player, caption, element("p", element("a", video.path, href=link)))


def _dataset(dataset: DatasetStory) -> Element:
    total = sum(len(robot.uploads) for robot in dataset.robots)
    parent = f", after {dataset.parent[:12]}" if dataset.parent else ", the first"
    summary = (
        f"dataset {dataset.version[:12]}{parent}: {total} uploads of {len(dataset.robots)} robots, {dataset.reason}"
    )
    return details(summary, element("p", code(dataset.version)), *(_uploads(robot) for robot in dataset.robots))


def _uploads(robot: RobotUploads) -> Element:
    keys = element("ul", *(element("li", code(key)) for key in robot.uploads))
    return details(f"{robot.robot}: {len(robot.uploads)} uploads", keys)


def _address(address: str) -> Element:
    """Only web addresses become links."""
    return element("a", address, href=address) if address.startswith(("http://", "https://")) else code(address)
