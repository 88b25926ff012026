"""What a run folder keeps: the exported policy, the metrics, the checkpoints, and what the run was asked to do."""

POLICY, JOURNAL, CHECKPOINTS, RUN = "policy", "journal.jsonl", "checkpoints", "run.json"
