"""What ranks on several nodes talk over: which transport NCCL chose, and how fast it is."""
