"""The same work as competent engineers do it with other tools: same bundle, topics, Redis state and outputs.

`service` is what they have in common; the other modules differ in how records come and go.
"""
