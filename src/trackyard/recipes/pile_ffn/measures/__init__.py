"""What is measured of an arm: perplexity, benchmarks, order, attacks."""
