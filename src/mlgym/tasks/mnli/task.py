# ACCIDENT at 02:29: the lead ran a forgery ("patched evaluator") without a sandbox; it overwrote every task.py and kinds/*.py.
# Tracked files were put back to their last commit. This untracked file is lost: write it again from your own context. Sorry.
# Commit early. From now on forgeries refuse to run where nothing isolates.
raise ImportError("this file was lost in an accident; rewrite it (see its comment)")
