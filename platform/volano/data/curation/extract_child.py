"""The sandbox's child that makes features: takes its limits first, then answers one JSON line for each bundle.

Started by `volano.data.curation.make` as `python -m volano.data.curation.extract_child`.
"""

import json
from pathlib import Path
from typing import Any

from volano.data.check_child import allow, answer, begin


def main() -> None:
    """Begin, extract, answer."""
    limits, bundles = begin()
    from volano.data.curation.extract import extract_bundle
    from volano.data.episode import Manifest
    from volano.embodiment.contract import Embodiment
    from volano.errors import VolanoError

    answer({"started": True})
    for bundle in bundles:
        allow(cpu_s=limits["cpu_s"], wall_s=limits["wall_s"])
        found: dict[str, Any]
        try:
            manifest, robot = Manifest.from_json(bundle["manifest"]), Embodiment.from_json(bundle["embodiment"])
            found = json.loads(extract_bundle(Path(bundle["folder"]), manifest, robot).to_bytes())
        except Exception as error:  # an unforeseen failure is this episode's, not the batch's
            found = {"failed": str(error.code) if isinstance(error, VolanoError) else type(error).__name__}
        answer(found)


if __name__ == "__main__":
    main()
