"""The nine-dataset evaluation: accuracy and latency of a vision-language model while its knobs are turned."""
