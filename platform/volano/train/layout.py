"""What a run folder keeps: the exported policy, the metrics, the checkpoints, what the run was asked to do, what each
worker said, and every failure that the run outlived or ended with."""

POLICY, JOURNAL, CHECKPOINTS, RUN = "policy", "journal.jsonl", "checkpoints", "run.json"
LOGS, FAILURES = "logs", "failures.jsonl"
TRAINED = "train_config.json"
"""Of the exported policy: a copy of what the run was asked to do."""
