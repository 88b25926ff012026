"""Where a flywheel keeps what it has on one machine: one folder, and a fixed place in it for everything."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from volano.ledger.ledger import Ledger, open_ledger
from volano.registry.tracking import local_uri
from volano.storage.open import open_store
from volano.storage.store import ObjectStore


@dataclass(frozen=True)
class Home:
    """The folder of one flywheel."""

    root: Path

    @cached_property
    def store(self) -> ObjectStore:
        """Uploads, episodes, dataset versions, policies."""
        return open_store(self.store_url)

    @property
    def store_url(self) -> str:
        """The store as other processes open it."""
        return str(self.root / "store")

    @cached_property
    def ledger(self) -> Ledger:
        """Robots, policies, rollouts, audit."""
        return open_ledger(f"sqlite:///{self.root / 'ledger.db'}")

    @property
    def tracking_uri(self) -> str:
        """MLflow, a view of the journals."""
        return local_uri(self.root)

    @property
    def keys(self) -> Path:
        """The signing key and its public half."""
        return self.root / "keys"

    @property
    def workflows_url(self) -> str:
        """The database in which a killed round finds the step it was in."""
        return f"sqlite:///{self.root / 'workflows.db'}"

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / "report" / "index.html"

    def run(self, name: str) -> Path:
        """The folder of a training run."""
        return self.root / "runs" / name

    def work(self, name: str) -> Path:
        """A folder for one step's files: plans, journals, evaluations."""
        folder = self.root / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
