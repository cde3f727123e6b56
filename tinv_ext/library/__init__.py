"""Finished embeddings: a folder of them, inspected, converted, extended and averaged."""
