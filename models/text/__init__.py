"""Text into vectors: tokenisers, and one module for each kind of text encoder."""
