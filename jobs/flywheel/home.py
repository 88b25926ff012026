"""Where a flywheel keeps what it has on one machine: one folder, and a fixed place in it for everything.

A home belongs to one driver at a time and to one plan for ever: a second driver would end the first one's processes,
and another plan would go on from answers that were given to the first.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from jobs.flywheel.plan import FlywheelPlan
from jobs.occupied import occupied
from volano.errors import Code, ConfigError
from volano.ledger.ledger import Ledger, open_ledger
from volano.registry.tracking import local_uri
from volano.storage.content import canonical_json
from volano.storage.files import replace_file
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
        return open_ledger(self.ledger_url)

    @property
    def ledger_url(self) -> str:
        """The ledger as other processes open it."""
        return f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow, a view of the journals."""
        return local_uri(self.root)

    @property
    def mlflow_command(self) -> str:
        """What to type to open MLflow."""
        return f"{Path(sys.executable).with_name('mlflow')} server --backend-store-uri {self.tracking_uri}"

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

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Be the only driver here, until this process ends at the latest. Raises SystemMissingError(E-SYSTEM-004)
        while another one is."""
        cause, fix = f"a flywheel turns in {self.root} already", "wait for it, or name another home"
        with occupied(self.root / "lock", cause=cause, fix=fix):
            yield

    def bind(self, plan: FlywheelPlan) -> None:
        """Note the plan of a new home. Raises ConfigError(E-CONFIG-003) when this one began with another."""
        path, text = self.root / "plan.json", canonical_json(asdict(plan))
        if not path.exists():
            replace_file(path, [text])
        elif path.read_bytes() != text:
            raise ConfigError(
                Code.CONFIG_VALUE, f"{self.root} began with another plan", f"name another home, or compare with {path}"
            )
