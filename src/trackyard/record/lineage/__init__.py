"""Where results come from: the chain of links, what proves it, and how it is shown."""
