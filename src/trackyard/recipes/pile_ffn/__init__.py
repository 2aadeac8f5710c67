"""The Pile-FFN study: what happens to Pythia when its feed-forward weights are made monotone."""
