"""What is remembered of users, tweets, authors and follow edges, and how events change it.

The same functions run online (over Redis) and offline (over memory), so a model is trained on exactly the
features that it is served with.
"""
