"""Run identity, spool, MLflow, lineage."""
