"""nightrain: night and rain variants of clear driving frames, and depth networks trained on them.

`nightrain.datasets` has no `__init__.py` on purpose. From the root of a checkout, `import datasets`
then still finds Hugging Face's library of that name, because a regular package anywhere on
`sys.path` takes precedence over a folder without `__init__.py`.
"""
