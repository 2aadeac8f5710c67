"""Order-preservation probes: does a model keep the order of graded sentences, and of its feed-forward inputs?"""
