"""The keeper: parent of every dyno. Standard library only, and nothing of dynod but this folder."""
