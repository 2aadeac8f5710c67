"""One module per track: its typed parameters, and how the parts are put together."""
