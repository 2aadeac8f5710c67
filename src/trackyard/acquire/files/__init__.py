"""Folders of files and their records: digests, manifests, proofs."""
