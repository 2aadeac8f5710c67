"""What the study takes before it is started: sizes, time, storage, traffic, jobs."""
