"""The survey: what the source looks like, in figures, so that a rebuilding can be judged by its before and after.

Rule: of how the code is arranged it knows only the top folders, `shim.app.create_app` and `shim.standin`, so that it
reads older and newer checkouts alike.
"""
