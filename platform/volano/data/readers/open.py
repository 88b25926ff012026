"""Which format a folder or file is, by the bytes on the disk, and the reader of that format."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from volano.data.bundle import MANIFEST_FILE
from volano.data.readers import lerobot
from volano.data.readers.files import inside, read_json
from volano.data.readers.foreign import Found, refuse, require
from volano.data.readers.mapping import Mapping
from volano.errors import Code, DataError, SystemMissingError
from volano.storage.files import open_plain

Read = Callable[[Path, Mapping], list[Found]]
READERS = {
    "LeRobot v2": "volano.data.readers.lerobot_v2",
    "LeRobot v3": "volano.data.readers.lerobot_v3",
    "HDF5": "volano.data.readers.hdf5",
    "MCAP": "volano.data.readers.mcap_log",
    "RLDS": "volano.data.readers.rlds",
}
"""Format to the module whose `read(path, mapping)` lists its episodes; only the one that is needed is imported."""
_MAGIC = {b"\x89HDF\r\n\x1a\n": "HDF5", b"\x89MCAP0\r\n": "MCAP"}
_SUFFIXES = {".hdf5": "HDF5", ".h5": "HDF5", ".mcap": "MCAP"}


def recognise(source: Path) -> str:
    """The format of a source, a key of `READERS`; raises DataError: E-DATA-008 when nothing is there, E-DATA-080 when
    it is none of them."""
    if source.is_file():
        with open_plain(source) as stream:
            found = _MAGIC.get(stream.read(8))
        if found is None:
            raise refuse(f"{source.name} is neither HDF5 nor MCAP; the other formats are folders")
        return found
    if not source.is_dir():
        raise refuse(f"there is no {source}", Code.DATA_MISSING_FILE)
    if (source / lerobot.INFO).is_file():
        version = str(read_json(inside(source, lerobot.INFO)).get("codebase_version"))
        return "LeRobot v3" if version.startswith("v3") else "LeRobot v2"
    if (source / "features.json").is_file() and (source / "dataset_info.json").is_file():
        return "RLDS"
    if any(source.glob(f"*/{MANIFEST_FILE}")):
        raise DataError(
            Code.DATA_FOREIGN, f"{source} holds Volano's own bundles", "upload them as they are: nothing to convert"
        )
    formats = {_SUFFIXES[path.suffix] for path in source.iterdir() if path.suffix in _SUFFIXES}
    if len(formats) == 1:
        return formats.pop()
    raise refuse(f"{source} is none of: {', '.join(READERS)}" if not formats else f"{source} mixes {sorted(formats)}")


def read(source: Path, mapping: Mapping) -> tuple[str, list[Found]]:
    """The format, and every episode that the source lists; raises DataError, and SystemMissingError(E-SYSTEM-001) when
    the packages of the format are not installed."""
    name = recognise(source)
    try:
        module: Any = import_module(READERS[name])
    except ModuleNotFoundError as error:
        raise SystemMissingError(
            Code.SYSTEM_LIBRARY, f"{name} needs the package {error.name}", "pip install 'volano[formats]'"
        ) from error
    reader: Read = module.read
    found = reader(source, mapping)
    require(len({one.name for one in found}) == len(found), f"{source.name} has two episodes of one name")
    return name, found
