"""One model folder on tasks of `tasks/`, outside of the pipeline: what `trackyard evaluate` does."""
