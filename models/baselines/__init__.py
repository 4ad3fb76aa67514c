"""Baselines: what a model has to beat. They learn from the same replayed exposures, with the same history
features, and are judged by the same figures; but for the last they are not served.

- `logistic`: a bag of words and all other columns, linear
- `forest`: a random forest of 1,000 trees
- `boosted`: gradient-boosted trees, the strong peer
- `tweet-only`: a text encoder alone, a small BERT from scratch by default; a bundle like the network's
"""
