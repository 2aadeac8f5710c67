"""Images by URL: lists, outcomes, shards, look-up."""
