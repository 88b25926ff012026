"""Every error Volano raises on purpose: one hierarchy, one table of stable codes.

A code never changes its meaning. Each class is also the builtin a caller would catch, and each instance
pickles, so that it crosses process borders (Ray, sandboxes) unharmed.
"""

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """Stable identifiers; the text after the dash is the title shown to people."""

    CONFIG_RECIPE = "E-CONFIG-001"
    CONFIG_KEY = "E-CONFIG-002"
    CONFIG_VALUE = "E-CONFIG-003"
    STORE_BUCKET = "E-STORE-001"
    STORE_CONDITIONAL = "E-STORE-002"
    STORE_FULL = "E-STORE-003"
    STORE_UNAVAILABLE = "E-STORE-004"
    STORE_KEY = "E-STORE-005"
    STORE_MISSING = "E-STORE-006"
    STORE_CORRUPT = "E-STORE-007"
    STORE_PARTS = "E-STORE-008"
    LEDGER_STATE = "E-LEDGER-001"
    LEDGER_CHAIN = "E-LEDGER-002"
    LEDGER_UNAVAILABLE = "E-LEDGER-003"
    AUDIT_CHECKPOINT = "E-AUDIT-001"
    CONTRACT_MISMATCH = "E-CONTRACT-001"
    CONTRACT_UNKNOWN = "E-CONTRACT-002"
    CONTRACT_VALUE = "E-CONTRACT-003"
    DATA_TRUNCATED_VIDEO = "E-DATA-001"
    DATA_FRAME_COUNT = "E-DATA-002"
    DATA_NOT_FINITE = "E-DATA-003"
    DATA_LIMITS = "E-DATA-004"
    DATA_SCHEMA = "E-DATA-005"
    DATA_HASH = "E-DATA-006"
    DATA_DUPLICATE = "E-DATA-007"
    DATA_MISSING_FILE = "E-DATA-008"
    DATA_CLOCK = "E-DATA-009"
    DATA_CONTRACT = "E-DATA-010"
    DATA_LANGUAGE = "E-DATA-011"
    DATA_DECODER = "E-DATA-012"
    DATA_VERSION = "E-DATA-013"
    DATA_MANIFEST = "E-DATA-014"
    DATA_ROBOT = "E-DATA-015"
    DATA_CONSERVATION = "E-DATA-016"
    DATA_SIZE = "E-DATA-017"
    DATA_ATTEMPT = "E-DATA-018"
    DATA_CLOCK_JITTER = "E-DATA-019"
    DATA_DROPPED_TICKS = "E-DATA-020"
    DATA_FROZEN_CAMERA = "E-DATA-021"
    DATA_REPEATED_FRAMES = "E-DATA-022"
    DATA_BLACK_IMAGE = "E-DATA-023"
    DATA_WHITE_IMAGE = "E-DATA-024"
    DATA_FLAT_IMAGE = "E-DATA-025"
    DATA_VIDEO_CLOCK = "E-DATA-026"
    DATA_SWAPPED_CAMERAS = "E-DATA-027"
    DATA_SAME_PICTURES = "E-DATA-028"
    DATA_SATURATED = "E-DATA-029"
    DATA_STUCK_CHANNEL = "E-DATA-030"
    DATA_NO_MOTION = "E-DATA-031"
    DATA_DEAD_ACTIONS = "E-DATA-032"
    DATA_UNITS = "E-DATA-033"
    DATA_CHANNEL_ORDER = "E-DATA-034"
    DATA_SPIKE = "E-DATA-035"
    DATA_REPEATED_ROWS = "E-DATA-036"
    DATA_PROVENANCE = "E-DATA-037"
    DATA_OUTCOME = "E-DATA-038"
    DATA_CLOCK_UNSET = "E-DATA-039"
    DATA_RECORDING = "E-DATA-060"
    DATA_READMIT = "E-DATA-070"
    DATA_RECALL = "E-DATA-071"
    DATA_UNKNOWN = "E-DATA-072"
    DATA_FOREIGN = "E-DATA-080"
    DATA_MAPPING = "E-DATA-081"
    DATA_OUTSIDE = "E-DATA-082"
    DATA_EXPORT = "E-DATA-083"
    DATA_RECEIPT = "E-DATA-095"
    DATA_QUOTA = "E-DATA-096"
    DATA_FEATURES = "E-DATA-100"
    DATA_CURATION = "E-DATA-101"
    DATA_CATALOGUE = "E-DATA-105"
    DATA_QUERY = "E-DATA-106"
    TRAIN_CHECKPOINT = "E-TRAIN-001"
    TRAIN_NOT_FINITE = "E-TRAIN-002"
    TRAIN_DATA = "E-TRAIN-003"
    TRAIN_FAILED = "E-TRAIN-004"
    TRAIN_MEMORY = "E-TRAIN-005"
    TRAIN_MIXTURE = "E-TRAIN-006"
    TRAIN_CHECKPOINT_WRITE = "E-TRAIN-007"
    TRAIN_OUT_OF_MEMORY = "E-TRAIN-008"
    TRAIN_PREEMPTED = "E-TRAIN-009"
    TRAIN_LOST_NODE = "E-TRAIN-010"
    TRAIN_KILLED = "E-TRAIN-011"
    TRAIN_EXCEPTION = "E-TRAIN-012"
    TRAIN_PICTURES = "E-TRAIN-013"
    TRAIN_FEED = "E-TRAIN-014"
    POLICY_FORMAT = "E-POLICY-001"
    POLICY_TAMPERED = "E-POLICY-002"
    POLICY_SIGNATURE = "E-POLICY-003"
    POLICY_OLDER = "E-POLICY-004"
    POLICY_EXPIRED = "E-POLICY-005"
    POLICY_MIXED = "E-POLICY-006"
    POLICY_UNRELEASED = "E-POLICY-007"
    POLICY_ASSIGNMENT = "E-POLICY-008"
    POLICY_KEYS = "E-POLICY-009"
    POLICY_REPORT = "E-POLICY-010"
    POLICY_PARITY = "E-POLICY-011"
    WIRE_FRAME = "E-WIRE-001"
    WIRE_AUTH = "E-WIRE-002"
    WIRE_OBSERVATION = "E-WIRE-003"
    WIRE_LIMIT = "E-WIRE-004"
    WIRE_ACTION = "E-WIRE-005"
    WIRE_IMAGE = "E-WIRE-006"
    SERVE_UNAVAILABLE = "E-SERVE-001"
    SERVE_TIMEOUT = "E-SERVE-002"
    SERVE_DELAY = "E-SERVE-003"
    SERVE_RATE = "E-SERVE-004"
    HOLD_STOPPED = "E-HOLD-001"
    HOLD_LEASE = "E-HOLD-002"
    HOLD_ORDER = "E-HOLD-003"
    HOLD_REGISTER = "E-HOLD-004"
    HOLD_UNCONFIRMED = "E-HOLD-005"
    ROLLOUT_PLAN = "E-ROLLOUT-001"
    ROLLOUT_STATE = "E-ROLLOUT-002"
    ROLLOUT_EVIDENCE = "E-ROLLOUT-003"
    ROLLOUT_WITHDRAWN = "E-ROLLOUT-010"
    EVALUATION_FORMAT = "E-EVALUATE-001"
    EVALUATION_DATA = "E-EVALUATE-002"
    EVALUATION_WORKERS = "E-EVALUATE-003"
    GATE_REFUSED = "E-GATE-001"
    CLUSTER_UNREACHABLE = "E-CLUSTER-001"
    SYSTEM_LIBRARY = "E-SYSTEM-001"
    SYSTEM_SANDBOX = "E-SYSTEM-002"
    SYSTEM_CHILD = "E-SYSTEM-003"
    SYSTEM_OCCUPIED = "E-SYSTEM-004"


class VolanoError(Exception):
    """An expected failure: what happened (`cause`), and what to do about it (`fix`)."""

    exit_code = 1

    def __init__(self, code: Code, cause: str, fix: str) -> None:
        super().__init__(code, cause, fix)
        self.code = code
        self.cause = cause
        self.fix = fix

    def __reduce__(self) -> tuple[type[Self], tuple[Code, str, str]]:
        return type(self), (self.code, self.cause, self.fix)

    def __str__(self) -> str:
        return f"{self.code}  {self.cause}\n  fix: {self.fix}"


class ConfigError(VolanoError, ValueError):
    """A recipe, key or value that does not exist or does not fit."""

    exit_code = 2


class StorageError(VolanoError, OSError):
    """The object store refused, failed or is not safe to use."""

    exit_code = 7


class LedgerError(VolanoError, RuntimeError):
    """The ledger refused a change, cannot be reached, or its audit chain does not verify."""

    def __init__(self, code: Code, cause: str, fix: str) -> None:
        super().__init__(code, cause, fix)
        self.exit_code = {Code.LEDGER_CHAIN: 5, Code.AUDIT_CHECKPOINT: 5, Code.LEDGER_UNAVAILABLE: 7}.get(code, 1)


class ContractError(VolanoError, ValueError):
    """Robot, dataset and policy do not share one embodiment."""

    exit_code = 3


class DataError(VolanoError, ValueError):
    """An upload, episode or dataset version that may not be believed."""


class TrainError(VolanoError, RuntimeError):
    """A run that cannot start, continue or be trusted."""


class PolicyError(VolanoError, ValueError):
    """A policy folder that fails verification."""

    exit_code = 5


class WireError(VolanoError, ValueError):
    """A frame from outside that is refused."""


class ServeError(VolanoError, RuntimeError):
    """A policy that cannot answer now."""

    exit_code = 7


class HoldError(VolanoError, RuntimeError):
    """An order to stop or to resume that is not believed, written down or confirmed."""

    exit_code = 7


class RolloutError(VolanoError, ValueError):
    """A rollout plan or transition that is not allowed."""

    exit_code = 3


class EvaluationError(VolanoError, RuntimeError):
    """An evaluation that cannot be made, or a report of one that may not be believed."""


class GateError(VolanoError, RuntimeError):
    """A candidate that the gate refused."""

    exit_code = 4


class SystemMissingError(VolanoError, RuntimeError):
    """Something outside Volano is missing: a library, a cluster, a service."""

    exit_code = 3
